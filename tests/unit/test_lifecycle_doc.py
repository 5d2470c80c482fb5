"""docs/lifecycle.md draws the arrows of sagas/states/lifecycle.py, all of them and no others (R14, R15)."""

import ast
import itertools
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from sagas.states import SAGA_ARROWS, STEP_ARROWS, SagaState, StepState, lifecycle


PAGE = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()
SECTIONS: list[tuple[str, type[Enum], Mapping[Any, frozenset[Any]]]] = [
    ("States of a saga", SagaState, SAGA_ARROWS),
    ("States of a step", StepState, STEP_ARROWS),
]

Arrows = set[tuple[str, str]]


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def table(text: str) -> list[list[str]]:
    """Return the rows of the first table, without its head."""
    lines = [
        line for line in text.split("\n\n```", maxsplit=1)[0].splitlines() if line.startswith("|")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def drawn(text: str) -> Arrows:
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    found = re.findall(r"(\S+) --> (\S+)", diagram)
    assert len(found) == len(set(found))
    return {(a, b) for a, b in found if "[*]" not in {a, b}}


def sentences(enum: type[Enum]) -> dict[str, str]:
    """Return the sentence below each member, as the source has it."""
    tree = ast.parse(Path(lifecycle.__file__).read_text())
    (body,) = (
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == enum.__name__
    )
    found = {}
    for member, docstring in itertools.pairwise(body):
        if isinstance(member, ast.Assign):
            name = ast.unparse(member.targets[0])
            text = ast.literal_eval(ast.unparse(docstring))
            found[str(enum[name].value)] = text.replace("``", "`")
    return found


@pytest.mark.parametrize(("title", "enum", "arrows"), SECTIONS, ids=["saga", "step"])
class TestLifecycle:
    def test_the_diagram_draws_exactly_the_arrows(
        self, title: str, enum: type[Enum], arrows: Mapping[Any, frozenset[Any]]
    ) -> None:
        legal = {(a.value, b.value) for a, targets in arrows.items() for b in targets}
        assert drawn(section(title)) == legal

    def test_the_table_names_exactly_the_arrows(
        self, title: str, enum: type[Enum], arrows: Mapping[Any, frozenset[Any]]
    ) -> None:
        listed = {
            row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in table(section(title))
        }
        assert listed == {a.value: {b.value for b in targets} for a, targets in arrows.items()}

    def test_each_state_is_explained_in_the_words_of_the_source(
        self, title: str, enum: type[Enum], arrows: Mapping[Any, frozenset[Any]]
    ) -> None:
        listed = {row[0].strip("`"): row[1] for row in table(section(title))}
        assert listed == sentences(enum)


SAGA_WORDS = {
    "started",
    "completed",
    "failed",
    "compensating",
    "compensated",
    "pending",
    "dead_letter",
    "cancelled",
    "timed out",
}
STEP_WORDS = {
    "started",
    "completed",
    "failed",
    "compensating",
    "compensated",
    "pending",
    "executing",
}


@pytest.mark.parametrize(
    ("number", "words", "known"),
    [(0, SAGA_WORDS, SagaState.values), (1, STEP_WORDS, StepState.values)],
    ids=["saga", "step"],
)
class TestWordsOfTheSources:
    def test_every_word_of_the_sources_is_mapped_to_one_of_ours(
        self, number: int, words: set[str], known: list[str]
    ) -> None:
        text = section("The same in other words")
        tables = [part for part in text.split("\n\n") if part.startswith("|")]
        rows = table(tables[number])
        assert words <= {re.sub(r" \(.*\)", "", row[0]) for row in rows}
        assert all(set(known) & set(re.findall(r"`(\w+)`", row[2])) for row in rows)
