"""What the coordinator costs and what it survives, measured."""
