"""Turning back: what is undone, in which order, and how it ends.

A compensation is a step like any other, of direction ``backward``. The rows are made when the last
forward step in flight has ended, because only then is it known what ran.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django.db.models.functions import Now

from sagas import decisions, standstill, transitions
from sagas.definitions import StepOptions
from sagas.exceptions import PivotPassed
from sagas.models import StepRun
from sagas.states import MAY_HAVE_HAPPENED, Direction, EventType, SagaState, StepState


def turn_back(
    change: transitions.RunChange,
    *,
    ends_as: SagaState,
    code: str,
    error: str,
    failed_step: str = "",
    actor: str = "",
) -> None:
    """Make the run ``compensating``; undo at once if nothing is in flight. Requires its lock."""
    change.move(
        SagaState.COMPENSATING,
        EventType.TURNED_BACK,
        note=error,
        actor=actor,
        ends_as=ends_as,
        failed_step=failed_step,
        error_code=code,
        error=error,
        failed_at=Now(),
        fingerprint=decisions.fingerprint(change.run.label, failed_step, code, error),
    )
    change.run.ends_as = ends_as
    transitions.shut_unstarted(change)
    settle(change)


def settle(change: transitions.RunChange) -> None:
    """Begin to undo, unless a forward step is still in flight. Requires the run's lock."""
    if change.has_in_flight():
        return
    forward = list(StepRun.objects.forward().filter(run_id=change.run.pk))
    if past_pivot(forward):
        no_way_back(change)
        return
    chain = plan_undo(forward, in_place=change.run.options.get("in_place", False))
    if chain:
        transitions.insert_undo_chain(change, chain)
    else:
        finish(change)


def past_pivot(forward: Iterable[StepRun]) -> bool:
    """Whether the point of no return was passed, or may have been."""
    return any(step.pivot and step.state in MAY_HAVE_HAPPENED for step in forward)


def no_way_back(change: transitions.RunChange) -> None:
    """Leave to a human a run that turned back though its point of no return was passed."""
    standstill.dead_letter(change, note=str(PivotPassed()), step="", error_code=PivotPassed.code)


def to_undo(forward: list[StepRun]) -> list[StepRun]:
    """Return the forward steps that would be undone, in that order."""
    kept = kept_for_good(forward)
    return [
        step
        for step in decisions.undo_order(forward)
        if step.compensation and step.state in MAY_HAVE_HAPPENED and step.name not in kept
    ]


def kept_for_good(forward: Iterable[StepRun]) -> set[str]:
    """Return the names of the steps whose ``compensable_until`` was reached.

    Only a success that is known reaches it: when nobody can tell, a step is rather undone.
    """
    steps = list(forward)
    reached = {step.name for step in steps if step.happened}
    return {step.name for step in steps if step.options.get("compensable_until") in reached}


def plan_undo(forward: list[StepRun], *, in_place: bool) -> list[StepRun]:
    """Return the compensation rows, not inserted yet: one chain, in reverse order."""
    chain = [undo_row(step, position=position) for position, step in enumerate(to_undo(forward))]
    for step, following in pairwise(chain):
        step.successors = [str(following.pk)]
        following.blockers = 1
        step.in_place = in_place and decisions.may_go_on(
            StepOptions.from_snapshot(step.options), StepOptions.from_snapshot(following.options)
        )
    return chain


def undo_row(step: StepRun, *, position: int) -> StepRun:
    """Return the compensation of a forward step, not inserted yet."""
    options = step.options.get("compensation", {})
    return StepRun(
        run_id=step.run_id,
        name=step.name,
        direction=Direction.BACKWARD,
        position=position,
        handler=step.compensation,
        options=options,
        timeout=_timeout(options),
        idempotency_key=f"{step.idempotency_key}:undo",
    )


def _timeout(options: dict[str, Any]) -> timedelta | None:
    seconds = StepOptions.from_snapshot(options).timeout
    return None if seconds is None else timedelta(seconds=seconds)


def finish(change: transitions.RunChange) -> None:
    """Everything was undone, so say ``compensated`` or ``cancelled``; else it is a dead letter."""
    backward = StepRun.objects.backward().filter(run_id=change.run.pk)
    if backward.exclude(state=StepState.SUCCEEDED).exists():
        standstill.dead_letter(change, note=change.run.compensation_error, step="")
        return
    if past_pivot(StepRun.objects.forward().filter(run_id=change.run.pk, pivot=True)):
        no_way_back(change)
        return
    ended = SagaState(change.run.ends_as)
    change.move(ended, EventType(ended.value))
