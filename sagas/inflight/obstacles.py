"""What keeps this code from carrying one open run on, or from undoing it."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from sagas.definitions import StepDefinition, registry
from sagas.engine import compensate, retry_dead_letter
from sagas.engine.declared import definition_of, load_input, refuse_newer
from sagas.exceptions import NewerVersion, SagaError, UnknownHandler, UnknownSaga
from sagas.models import SagaRun, StepRun
from sagas.models.steps import BEING_REWOUND
from sagas.states import (
    DONE,
    IN_FLIGHT_STEPS,
    MAY_HAVE_HAPPENED,
    UNSTARTED_STEPS,
    UNSUCCESSFUL_STEPS,
    SagaState,
)


STEP_COLUMNS = (
    *("run_id", "name", "direction", "state", "compensation", "in_doubt", "reconcile_attempts"),
    *("pivot", "critical", "detached", "rewind", "prepared", "options"),
    *("input", "output", "answer"),
)
"""What is read of a step."""


class Problem(StrEnum):
    """What is wrong, in the words of the table."""

    SAGA_REMOVED = "saga removed"
    NEWER_VERSION = "started by a newer version"
    INPUT = "input does not load"
    STEP_REMOVED = "step removed"
    COMPENSATION_REMOVED = "compensation removed"
    RECONCILE_REMOVED = "reconcile removed"
    STEP_INPUT = "step's input is not there"
    RESULT = "result does not load"


class Obstacle(NamedTuple):
    """One thing that is wrong with one run."""

    problem: Problem
    step: str
    """The row's name; empty where it is about the whole run."""

    detail: str
    """The error that a worker would meet, without the values."""


def obstacles_of(run: SagaRun, rows: Sequence[StepRun]) -> Iterator[Obstacle]:
    """Yield what keeps this code from carrying a run on; ``rows`` are all its steps.

    Of a completed run only steps are looked at for which nobody waits. Each obstacle is what would make a
    worker put the step back, now or when the saga comes to it.
    """
    try:
        refuse_newer(run)
        definition = registry.get(run.label).definition
    except (NewerVersion, UnknownSaga) as error:
        known = isinstance(error, NewerVersion)
        yield Obstacle(Problem.NEWER_VERSION if known else Problem.SAGA_REMOVED, "", str(error))
        return
    undoable = _undoable(run, rows)
    for data, version in _inputs(run, rows, undoable):
        if version > definition.version:
            detail = f"a rewind leads to version {version}; this code is {definition.version}"
            yield Obstacle(Problem.NEWER_VERSION, "", detail)
        load = partial(definition.load_input, data, version=version)
        yield from _misfit(Problem.INPUT, "", load)
    for row in rows:
        needs = _Needs(
            handler=_may_run(run, rows, row),
            undo=row.name in undoable or (row.is_backward and row.state not in DONE),
        )
        yield from _obstacles_of_step(run, row, needs)


def _inputs(run: SagaRun, rows: Sequence[StepRun], undoable: set[str]) -> Iterator[tuple[Any, int]]:
    """Yield the inputs that handlers will be given, with their versions."""
    yield run.input, run.version
    if run.rewind_to:
        to_come = run.rewound[-1]
        yield to_come["input"], to_come["version"]
    for row in rows:
        if row.is_past and row.name in undoable:
            yield run.input_of(row)


class _Needs(NamedTuple):
    """What may still be called of a row."""

    handler: bool
    undo: bool


def _undoable(run: SagaRun, rows: Sequence[StepRun]) -> set[str]:
    """Return the names of the steps that are to be undone if the run turns back, or has."""
    if run.pivot_passed or run.state == SagaState.COMPLETED:
        return set()
    forward = [row for row in rows if not row.is_backward]
    kept = compensate.no_longer_compensable(forward)
    return {
        row.name
        for row in forward
        if row.compensation
        and row.name not in kept
        and (row.state in MAY_HAVE_HAPPENED or _may_run(run, rows, row))
    }


def _may_run(run: SagaRun, rows: Sequence[StepRun], row: StepRun) -> bool:
    """Whether a forward step is not over: to come, in flight, or tried again with its dead letter."""
    if row.is_backward:
        return False
    if row.state in UNSTARTED_STEPS | IN_FLIGHT_STEPS:
        return row.detached or run.state != SagaState.COMPLETED
    if row.rewind == BEING_REWOUND:
        return True
    tried_again = run.state == SagaState.DEAD_LETTER and row.state in UNSUCCESSFUL_STEPS
    return tried_again and row.critical and not retry_dead_letter.is_turned(run, rows)


def _obstacles_of_step(run: SagaRun, row: StepRun, needs: _Needs) -> Iterator[Obstacle]:
    try:
        definition = definition_of(run, row)
    except (UnknownHandler, UnknownSaga) as error:
        if any(needs):
            yield Obstacle(Problem.STEP_REMOVED, row.name, str(error))
        return
    if needs.undo and definition.compensation is None:
        detail = f"it is undone by {row.compensation or row.handler}, which this code has not"
        yield Obstacle(Problem.COMPENSATION_REMOVED, row.name, detail)
    if needs.handler and definition.reconcile is None and row.plan.reconcile:
        detail = "asked whether it happened" if row.is_reconciling else "it would be asked in doubt"
        yield Obstacle(Problem.RECONCILE_REMOVED, row.name, detail)
    if any(needs):
        yield from _obstacles_of_input(row, definition, needs)
        if row.plan.saga not in {"", run.label}:
            yield from _misfit(Problem.INPUT, row.name, partial(load_input, run, row))
    if needs.undo or not row.is_past:
        yield from _obstacles_of_result(row, definition)


def _obstacles_of_input(
    row: StepRun, definition: StepDefinition, needs: _Needs
) -> Iterator[Obstacle]:
    is_there = row.plan.bound or row.prepared
    if definition.is_reaction and not row.is_backward:
        event = (row.input or {}).get("data")
        load = partial(definition.input_codec.load, event, what=f"the event of {row.name}")
        yield from _misfit(Problem.STEP_INPUT, row.name, load)
    elif needs.handler and row.plan.computes_input and definition.inputs is None:
        detail = "it was planned with inputs, which this code has not"
        yield Obstacle(Problem.STEP_INPUT, row.name, detail)
    elif definition.takes_input and is_there:
        load = partial(definition.input_codec.load, row.input, what=f"the input of {row.name}")
        yield from _misfit(Problem.STEP_INPUT, row.name, load)
    elif needs.handler and definition.takes_input and definition.inputs is None:
        yield Obstacle(Problem.STEP_INPUT, row.name, "its row has none, and this code wants one")


def _obstacles_of_result(row: StepRun, definition: StepDefinition) -> Iterator[Obstacle]:
    if row.is_backward:
        return
    stored = [row.output] if row.happened else []
    if row.answer is not None and "output" in row.answer:
        stored.append(row.answer["output"])
    for data in stored:
        load = partial(definition.result_codec.load, data, what=f"the result of {row.name}")
        yield from _misfit(Problem.RESULT, row.name, load)


def _misfit(problem: Problem, step: str, load: Callable[[], object]) -> Iterator[Obstacle]:
    try:
        load()
    except SagaError as error:
        yield Obstacle(problem, step, str(error))
