"""How a step that is a saga of its own is undone: the engine turns the child back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sagas.definitions import graph
from sagas.definitions.options import COMPENSATION_DEFAULTS, StepOptions
from sagas.definitions.rules import MAX_NAME_LENGTH
from sagas.definitions.step_definition import CompensationDefinition, StepDefinition


def undo_of_child(step: str) -> CompensationDefinition:
    """Return the compensation that every child step has, without a method of the user's."""
    return CompensationDefinition(
        name=f"undo_{step}"[:MAX_NAME_LENGTH],
        handler=_turned_back_by_the_engine,
        options=StepOptions.merged(COMPENSATION_DEFAULTS, place=step),
        atomic=False,
        owner="",
    )


def without_undone_behind_pivots(steps: Sequence[StepDefinition]) -> Iterator[StepDefinition]:
    """Yield the steps; a child at a pivot or behind one has no compensation, for none would run."""
    predecessors = {step.name: step.after for step in steps}
    known = graph.cycle(predecessors) is None
    ancestors = graph.ancestors(predecessors) if known else dict.fromkeys(predecessors, frozenset())
    pivots = {step.name for step in steps if step.pivot}
    for step in steps:
        forward_only = step.pivot or pivots & ancestors[step.name]
        yield replace(step, compensation=None) if step.child and forward_only else step


def _turned_back_by_the_engine(_saga: Any, _result: Any) -> None:
    """Stand where another step has a method."""
