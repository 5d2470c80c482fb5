"""A release is refused until tag, version and changelog say the same (make release)."""

import re
import tomllib
from dataclasses import replace
from typing import Any

import pytest

from tools.release import CHECKOUT, State, problems


WHOLE = State(
    project={"version": "0.2.0", "urls": {"Repository": "https://git.example/sagas"}},
    changelog="# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-03-01\n\n- New.\n\n## [0.1.0] - 2026-01-31\n",
    upgrading="## Versions\n\n### 0.2.0\n\nNothing to do.\n",
    changed_files="",
    tags=frozenset({"v0.2.0"}),
)


def test_one_that_is_whole_is_not_refused() -> None:
    assert list(problems("0.2.0", WHOLE)) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"project": {**WHOLE.project, "version": "0.2.0.dev0"}}, "pyproject.toml says 0.2.0.dev0"),
        ({"tags": frozenset({"v0.1.0"})}, "no tag v0.2.0"),
        ({"changed_files": " M README.md\n"}, "not committed:\n M README.md"),
        ({"changelog": WHOLE.changelog.replace("0.2.0", "0.3.0")}, "go on with [0.2.0]"),
        ({"changelog": WHOLE.changelog.replace(" - 2026-03-01", "")}, "has no date"),
        (
            {"changelog": WHOLE.changelog.replace("[Unreleased]\n", "[Unreleased]\n\n- More.\n")},
            "changes under [Unreleased]",
        ),
        ({"upgrading": "### 0.1.0\n"}, "no section 0.2.0"),
        ({"project": {"version": "0.2.0"}}, "[project.urls]"),
        (
            {"project": {"version": "0.2.0", "urls": {"Home": "https://example.org/x"}}},
            "[project.urls]",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(wrong: dict[str, Any], says: str) -> None:
    (problem,) = problems("0.2.0", replace(WHOLE, **wrong))
    assert says in problem


@pytest.mark.parametrize("version", ["", "next", "0.2.0.dev1", "0.2.0+local", "v0.2.0", "00.2"])
def test_what_is_not_the_name_of_a_release_is_refused(version: str) -> None:
    assert any("use one such as" in problem for problem in problems(version, WHOLE))


def test_the_version_stands_in_one_place() -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    stated = re.compile(rf"__version__|{re.escape(version)}")
    rooms = [CHECKOUT / name for name in ("config", "sagas", "tools")]
    assert [
        path for room in rooms for path in room.rglob("*.py") if stated.search(path.read_text())
    ] == []
