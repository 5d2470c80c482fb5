"""A Django app for the crash matrix: its saga, and the points at which a worker may be hit.

The product knows nothing of it. A worker process that is told so by its environment wraps the
engine's functions by name, so a fault strikes exactly at a boundary between two of them.
"""
