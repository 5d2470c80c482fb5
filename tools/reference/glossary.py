"""The states and events of ``docs/glossary.md``; the rest of that page is written by hand."""

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from sagas.states import EventType, SagaState, StepState
from tools.reference import markdown
from tools.reference.source import sentences


SECTIONS: Mapping[str, type[Enum]] = MappingProxyType(
    {"States of a run": SagaState, "States of a step": StepState, "Events": EventType}
)


def page(path: Path) -> str:
    """Return the page that stands at ``path``, with these sections as the code is now."""
    text = path.read_text()
    for heading, enum in SECTIONS.items():
        pattern = re.compile(rf"(?<=\n## {heading}\n\n).*?(?=\n\n##|\n*\Z)", re.DOTALL)
        text = pattern.sub(lambda _, enum=enum: _table(enum), text)  # type: ignore[misc]
    return text


def _table(enum: type[Enum]) -> str:
    said = sentences(enum)
    rows = [[markdown.code(member.value), said[member.name]] for member in enum]
    return markdown.table(["Term", "Meaning"], rows)
