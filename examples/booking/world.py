"""What airlines, hotels, insurers and the bank have done for us: one file, outside of any database.

Everybody who acts appends a line by an idempotency key: the same key again does nothing, and what was
undone cannot happen any more. Nothing but the standard library, for the other team has no Django.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


_DEFAULT = Path(__file__).parents[2] / "var" / "booking.jsonl"


class Undone(Exception):
    """It was undone under this key before it was asked for: it does not happen any more."""


def do(what: str, *, key: str) -> None:
    """Let it happen, once per key.

    Raises:
        Undone: it was undone under this key.
    """
    with _book() as book:
        verbs = [verb for verb, _, by in _lines(book) if by == key]
        if "undid" in verbs:
            raise Undone(what)
        if not verbs:
            _append(book, "did", what, key)


def undo(what: str, *, key: str) -> None:
    """Undo what happened under the key, once; if nothing did, see to it that it never will."""
    with _book() as book:
        if ("undid", key) not in {(verb, by) for verb, _, by in _lines(book)}:
            _append(book, "undid", what, key)


def history() -> list[str]:
    """Return what was done and undone, in order: ``did flight-1``, ``undid flight-1``."""
    with _book() as book:
        return [f"{verb} {what}" for verb, what, _ in _lines(book)]


def standing() -> list[str]:
    """Return what was done and not undone, in order."""
    with _book() as book:
        lines = list(_lines(book))
    undone = {key for verb, _, key in lines if verb == "undid"}
    return [what for verb, what, key in lines if verb == "did" and key not in undone]


@contextmanager
def _book() -> Iterator[TextIO]:
    path = Path(os.environ.get("BOOKING_WORLD") or _DEFAULT)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        yield book


def _lines(book: TextIO) -> Iterator[tuple[str, str, str]]:
    book.seek(0)
    for line in book:
        verb, what, key = json.loads(line)
        yield verb, what, key


def _append(book: TextIO, *line: str) -> None:
    book.write(json.dumps(line) + "\n")
