"""docs/requirements.md names tests that exist, for every row that it calls done."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "requirements.md").read_text().splitlines()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in LINES
    if re.match(r"\| \d+ \|", line)
]
NAMED = [(int(row[0]), test) for row in ROWS for test in re.findall(r"`([^`]+)`", row[3])]


@cache
def known_tests(path: str) -> frozenset[str]:
    """Return the names of a file's tests: ``test_x`` and ``TestThing::test_x``."""
    tree = ast.parse((ROOT / path).read_text())
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
    return frozenset(found)


class TestRequirements:
    def test_every_row_is_there_once_and_in_order(self) -> None:
        assert [int(row[0]) for row in ROWS] == list(range(1, 128))

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: f"R{row[0]}")
    def test_a_row_is_shown_by_tests_or_not_yet_there(self, row: list[str]) -> None:
        _, _, state, shown_by, remark = row
        assert state in {"done", "first form", "not yet"}
        assert bool(re.search("`tests/", shown_by)) == (state != "not yet")
        if state == "first form":
            assert len(remark) > 1

    @pytest.mark.parametrize(("number", "test"), NAMED)
    def test_what_shows_it_exists(self, number: int, test: str) -> None:
        path, _, name = test.partition("::")
        assert name in known_tests(path), f"R{number} names {test}"
