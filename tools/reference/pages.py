"""Which page is written by what."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tools.reference import checks, cli, errors, events, glossary, options, settings, verbs


DOCS = Path(__file__).parents[2] / "docs"

PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "reference" / "options.md": options.page,
    DOCS / "reference" / "settings.md": settings.page,
    DOCS / "reference" / "checks.md": checks.page,
    DOCS / "reference" / "events.md": events.page,
    DOCS / "reference" / "errors.md": errors.page,
    DOCS / "reference" / "cli.md": cli.page,
    DOCS / "reference" / "verbs.md": verbs.page,
    DOCS / "glossary.md": partial(glossary.page, DOCS / "glossary.md"),
}
