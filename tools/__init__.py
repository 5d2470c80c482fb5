"""What whoever maintains this repository runs. It knows the package; the package does not know it."""
