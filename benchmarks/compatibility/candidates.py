"""What is tried: each interpreter with each Django, and the oldest and the newest of everything."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.compatibility import interpreters, lock
from benchmarks.compatibility.interpreters import Interpreter


DJANGO = {"5.2": "3.10", "6.0": "3.12", "6.1": "3.12"}
"""The first Python of each Django."""

OLDEST, NEWEST = "oldest", "newest"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One environment: an interpreter, and what is said of the versions in it."""

    column: str
    version: str
    """Of Python."""

    python: Interpreter | None
    """None: it is not on this machine."""

    constraints: tuple[str, ...] = ()
    impossible: str = ""

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"python{self.version}-{self.column.replace(' ', '')}"


def all_candidates() -> Iterator[Candidate]:
    """Yield what the table has a cell for."""
    there = {python.version: python for python in interpreters.find()}
    for version in interpreters.SUPPORTED:
        python = there.get(version)
        for django, first in DJANGO.items():
            early = _number(version) < _number(first)
            yield Candidate(
                column=f"Django {django}",
                version=version,
                python=python,
                constraints=(*_locked_beside_django(python), f"django=={django}.*"),
                impossible=f"Django {django} needs Python {first}" if early else "",
            )
        yield Candidate(column=OLDEST, version=version, python=python, constraints=tuple(_floors()))
        yield Candidate(column=NEWEST, version=version, python=python)


def _locked_beside_django(python: Interpreter | None) -> list[str]:
    if python is None:
        return []
    locked = lock.locked_for(python.markers)
    return [f"{name}=={version}" for name, version in locked.items() if name != "django"]


def _floors() -> Iterator[str]:
    """Yield every dependency at the lowest version that is declared."""
    for requirement in lock.declared():
        for specifier in requirement.specifier:
            if specifier.operator == ">=":
                yield f"{requirement.name}=={specifier.version}"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
