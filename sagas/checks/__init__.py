"""``manage.py check``: what is wrong with the sagas; with ``--deploy`` also what would lose or slow them.

Errors end in lost sagas, warnings in surprises. Every message has a stable id, says what breaks, and
has a hint that cures. A room for each thing that is looked at; importing this registers them all.
"""

from sagas.checks import broker, database, definitions, pools, project, settings, workers
from sagas.checks.tag import TAG


__all__ = ["TAG", "broker", "database", "definitions", "pools", "project", "settings", "workers"]
