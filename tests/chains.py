"""Sagas of any length, for what must not depend on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import new_class
from typing import Any

from sagas import PermanentError, Saga, step
from sagas.definitions import Step, registry


@dataclass(frozen=True)
class Fails:
    """The step that refuses; -1: none does."""

    at: int = -1


@contextmanager
def chain(length: int, *, parallel: bool = False) -> Iterator[type[Saga[Fails]]]:
    """A saga of ``length`` steps in a row, or all at once; forgotten at the end of the block."""

    class Meta:
        label = f"tests.Chain{length}"
        step_defaults = {"max_retries": 0}

    body: dict[str, Any] = {"Meta": Meta}
    for number in range(length):
        body[f"step_{number}"] = _step(number, parallel=parallel)
    with registry.isolated():
        yield new_class(
            f"Chain{length}", (Saga[Fails],), exec_body=lambda space: space.update(body)
        )


def _step(number: int, *, parallel: bool) -> "Step[Any, int]":
    def handler(self: Saga[Fails]) -> int:
        if self.input.at == number:
            message = f"step {number} refused"
            raise PermanentError(message)
        return number

    def undo(self: Saga[Fails], result: int | None) -> None:
        """Nothing to do."""

    handler.__name__ = f"step_{number}"
    undo.__name__ = f"undo_{number}"
    made: Step[Any, int] = step(after=[])(handler) if parallel else step(handler)
    made.compensation(undo)
    return made
