"""Sagas of 5, 50 and 500 steps in a row, and one of 500 steps at once between a first and a last."""

from collections.abc import Callable, Sequence
from types import new_class
from typing import TYPE_CHECKING, Any

from benchmarks.speed.applications import ledger
from benchmarks.speed.growth import LENGTHS, WIDTH
from benchmarks.speed.sagas import Order
from sagas import Saga, step


if TYPE_CHECKING:
    from sagas.definitions import Step


def declare(label: str, steps: Sequence["Step[Any, None]"]) -> type[Saga[Order]]:
    """Make a saga of steps that carry their names."""
    body: dict[str, Any] = {"Meta": type("Meta", (), {"label": label})}
    for one in steps:
        one.no_compensation("does nothing")
        body[one.name] = one
    name = label.rpartition(".")[2]
    return new_class(name, (Saga[Order],), exec_body=lambda space: space.update(body))


def make(name: str, act: Callable[[str], None], **options: Any) -> "Step[Any, None]":
    """Return a step that acts on the saga's batch."""

    def handler(self: Saga[Order]) -> None:
        act(self.input.batch)

    handler.__name__ = name
    made: Step[Any, None] = step(**options)(handler) if options else step(handler)
    return made


def nothing(batch: str) -> None:
    """What the steps between the first and the last do."""


def in_a_row(length: int) -> type[Saga[Order]]:
    """A saga whose steps follow each other."""
    between = [make(f"step_{number}", nothing) for number in range(2, length)]
    steps = [make("first", ledger.began), *between, make("last", ledger.ended)]
    return declare(f"growth.InARow{length}", steps)


def at_once(width: int) -> type[Saga[Order]]:
    """A saga whose steps all wait for the first, and the last for all of them."""
    first = make("first", ledger.began)
    branches = [make(f"branch_{number}", nothing, after=[first]) for number in range(width)]
    return declare(
        f"growth.AtOnce{width}", [first, *branches, make("last", ledger.ended, after=branches)]
    )


for _length in LENGTHS:
    in_a_row(_length)
at_once(WIDTH)
