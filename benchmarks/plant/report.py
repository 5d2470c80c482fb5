"""A Markdown page of sections, each rewritten by the run that measured it."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil


TITLE = "# What it survives\n\nEach section is written by the command that it names.\n"


def write_section(page: Path, name: str, text: str) -> None:
    """Put a section in the place of the one with the same name, or at the end."""
    before = page.read_text() if page.exists() else TITLE
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n\n{text.strip()}\n\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: section, before)
    else:
        after = f"{before.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(after)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, words: int = 1) -> str:
    """Return a table; what follows the first columns, which are words, stands to the right."""
    lines = [heads, [*["---"] * words, *["---:"] * (len(heads) - words)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def seconds(value: float | None) -> str:
    """Return a time for a table."""
    return "-" if value is None else f"{value:.1f} s"


def machine() -> str:
    """Say on what it ran, with which versions."""
    memory = psutil.virtual_memory().total / 2**30
    parts = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis", "Django"))
    return (
        f"{datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {parts}"
    )
