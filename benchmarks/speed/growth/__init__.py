"""What becomes of the speed when the tables, the sagas and the number of workers grow."""

LENGTHS = (5, 50, 500)
"""Steps in a row."""

WIDTH = 500
"""Steps at once, between a first and a last one."""
