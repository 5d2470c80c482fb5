"""What both sides did, in one file, read and written from our side."""

import json
import os
import time
from pathlib import Path


def tell(book: str, what: str, key: str = "") -> None:
    """Append a line, by one write."""
    line = json.dumps({"what": what, "key": key, "at": time.time()}) + "\n"
    descriptor = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(book: str | Path) -> list[str]:
    """Return what was done, in order."""
    return [line["what"] for line in _lines(book)]


def keys(book: str | Path, what: str) -> list[str]:
    """Return the idempotency keys by which something was done."""
    return [line["key"] for line in _lines(book) if line["what"] == what]


def wait_for(book: str | Path, what: str, *, times: int = 1, seconds: float = 30) -> None:
    """Return when something was done so many times."""
    until = time.monotonic() + seconds
    while read(book).count(what) < times:
        assert time.monotonic() < until, f"{what}: {read(book)}"
        time.sleep(0.02)


def _lines(book: str | Path) -> list[dict[str, str]]:
    if not Path(book).exists():
        return []
    return [json.loads(line) for line in Path(book).read_text().splitlines()]
