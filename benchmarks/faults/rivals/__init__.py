"""What people use instead, configured as their documentation advises, on the same outside service."""
