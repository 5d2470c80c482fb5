"""Read the books when all is over."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One call that the service answered."""

    number: int
    moment: float
    op: str
    saga: str
    step: str
    key: str
    pid: int
    applied: bool
    refused: bool
    done: bool
    calls: int


Books = dict[str, list[Entry]]
"""All entries of a saga, in order."""


def read(path: Path) -> Books:
    """Return the entries by saga."""
    books: Books = defaultdict(list)
    for line in path.read_text().splitlines():
        entry = Entry(**json.loads(line))
        books[entry.saga].append(entry)
    return books


def last_word(entries: list[Entry]) -> str:
    """Return what a saga said last of itself; "" when it never said anything."""
    return next((entry.step for entry in reversed(entries) if entry.op == "say"), "")
