"""What turning back would undo: asked before it is done."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sagas.engine import compensate, decisions, undo_chain
from sagas.models import SagaRun, StepRun, moments
from sagas.operations.addressing import BY_PRESENT_STEP
from sagas.operations.predicates import is_undoing
from sagas.operations.rewinding import has_begun, rewound_steps
from sagas.operations.verbs import Refused
from sagas.states import (
    CLOSED_SAGAS,
    IN_FLIGHT_STEPS,
    MAY_HAVE_HAPPENED,
    UNSTARTED_STEPS,
    StepState,
)


@dataclass(frozen=True, kw_only=True)
class PlannedUndo:
    """One compensation that would run."""

    name: str
    """The step that it undoes."""

    handler: str
    """The method that will be called."""

    outcome: Literal["succeeded", "unknown", "in_flight"]
    """What is known of the step. One in flight ends first, and is undone unless it fails; an
    unknown one that has a ``reconcile`` is asked first, and undone unless it did not happen."""

    idempotency_key: str
    """The compensation's own."""

    undoes: str
    """The key that the step had: the one that an outside party knows."""


def preview_compensation(run: SagaRun) -> list[PlannedUndo]:
    """Return what would be undone if ``run`` turned back now, in order; of one on its way, the rest.

    Empty when nothing would, past the point of no return too.
    """
    run = SagaRun.objects.only("state", "pivot_passed", "outcome_when_undone").get(pk=run.pk)
    steps = list(StepRun.objects.filter(run_id=run.pk).defer("input", "output", "error"))
    forward = [step for step in steps if not step.is_backward]
    if run.state in CLOSED_SAGAS:
        return []
    if run.is_rewinding or is_undoing(steps):
        # Not the rows of the compensations: a late word may have changed what a retry would undo.
        rows = {step.name: step for step in steps if step.is_backward}
        return [
            _planned(step, rows.get(step.name) or undo_chain.undo_row(step, position=0))
            for step in compensate.turned(compensate.to_undo(forward), run)
        ]
    if decisions.may_be_past_pivot(run, steps, begun_counts=True):
        return []
    return [_planned(step, undo_chain.undo_row(step, position=0)) for step in _to_undo(forward)]


@dataclass(frozen=True, kw_only=True)
class RewindPreview:
    """What a rewind would do."""

    undone: list[PlannedUndo]
    """In order. A step that has no compensation is not among them."""

    again: list[str]
    """The steps that would then run, or run anew, in declared order."""

    stand: list[str]
    """The steps that have begun and do not depend on it: they are left alone."""


def preview_rewind(run: SagaRun, to: str) -> RewindPreview:
    """Return what ``rewind_saga(run, to)`` would undo now, and what it would let stand.

    Nothing of it says that the run allows it: past the point of no return it does not.

    Raises:
        ValueError: the run has no such step.
    """
    steps = list(StepRun.objects.filter(run_id=run.pk).defer("input", "output", "error"))
    try:
        first = BY_PRESENT_STEP.find(run, steps, to)
    except Refused as refused:
        raise ValueError(f"{run}: {refused}") from None
    rewound = rewound_steps(steps, first)
    forward = [step for step in steps if not step.is_backward]
    return RewindPreview(
        undone=[
            _planned(step, undo_chain.undo_row(step, position=0))
            for step in _to_undo(forward)
            if step in rewound
        ],
        again=[step.name for step in rewound],
        stand=[
            step.name
            for step in forward
            if step not in rewound and not step.is_past and has_begun(step)
        ],
    )


def _planned(step: StepRun, row: StepRun) -> PlannedUndo:
    return PlannedUndo(
        name=step.name,
        handler=row.handler,
        outcome=_outcome(step),
        idempotency_key=row.idempotency_key,
        undoes=step.idempotency_key,
    )


def _outcome(step: StepRun) -> Literal["succeeded", "unknown", "in_flight"]:
    if step.state in IN_FLIGHT_STEPS:
        return "in_flight"
    return "succeeded" if step.state == StepState.SUCCEEDED else "unknown"


@dataclass(eq=False)
class _Ended:
    """A step as it will stand when it can be undone."""

    step: StepRun
    pk: Any
    position: int
    ended_at: datetime | None
    successors: list[str]


def _to_undo(forward: list[StepRun]) -> list[StepRun]:
    now = moments.stored(moments.now())
    ordered = [e.step for e in decisions.undo_order([_as_ended(step, now) for step in forward])]
    kept = compensate.no_longer_compensable(forward)
    return [
        step
        for step in ordered
        if step.compensation and _may_have_happened(step) and step.name not in kept
    ]


def _as_ended(step: StepRun, now: datetime) -> _Ended:
    """Between two attempts it ends when the saga turns; in flight, or if it is asked, later."""
    ends_now = step.state in UNSTARTED_STEPS and not step.plan.reconcile
    ended_at = now if ends_now else step.ended_at
    return _Ended(step, step.pk, step.position, ended_at, step.successors)


def _may_have_happened(step: StepRun) -> bool:
    between_attempts = step.state in UNSTARTED_STEPS and step.in_doubt
    return step.state in MAY_HAVE_HAPPENED | IN_FLIGHT_STEPS or between_attempts
