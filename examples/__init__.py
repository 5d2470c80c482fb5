"""Projects that show the package at work."""
