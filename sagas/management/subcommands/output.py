"""Plain tables and JSON. What came from outside cannot steer the terminal."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TextIO

from sagas.models import moments


def write_json(out: TextIO, data: Any) -> None:
    """Write ``data`` for another program."""
    out.write(json.dumps(data, indent=2, default=_plain) + "\n")


def write_table(out: TextIO, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write columns as wide as their content."""
    cells = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.write(line.rstrip() + "\n")


def write_fields(out: TextIO, fields: Sequence[tuple[str, Any]]) -> None:
    """Write names and values, the empty ones left out."""
    shown = [(name, printable(str(value))) for name, value in fields if value not in {None, ""}]
    width = max(len(name) for name, _ in shown)
    out.writelines(f"{name.ljust(width)}  {value}\n" for name, value in shown)


def printable(text: str) -> str:
    """Return ``text`` on one line, its control characters spelled out."""
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def moment(at: datetime | None) -> str:
    """Return a moment to the second, in UTC; with ``USE_TZ = False`` in the project's zone, named."""
    return moments.format_moment(at).removesuffix(" UTC")


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _plain(value: Any) -> str:
    return moments.aware(value).isoformat() if isinstance(value, datetime) else str(value)
