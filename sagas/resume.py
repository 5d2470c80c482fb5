"""A dead letter goes on exactly where it stopped; what is done is not repeated.

While it stood still, steps in flight ended and nothing followed from it. So the plan is made anew
from what the rows say, instead of by counters that went on in the meantime.
"""

from datetime import timedelta
from itertools import zip_longest
from typing import Any

from sagas import compensate, decisions, transitions
from sagas.definitions import registry
from sagas.exceptions import UnknownSaga
from sagas.models import SagaRun, StepRun
from sagas.states import IN_FLIGHT_STEPS, EventType, SagaState, StepState


def resume(change: transitions.RunChange, *, note: str, actor: str, **columns: Any) -> None:
    """Let a dead letter go on in its direction, forward with a fresh deadline. Requires its lock.

    ``columns`` are further columns of the run, such as the count of retries.
    """
    undoing = StepRun.objects.backward().filter(run_id=change.run.pk).exists()
    change.move(
        SagaState.COMPENSATING if undoing else SagaState.RUNNING,
        EventType.RETRIED,
        note=note,
        actor=actor,
        compensation_error="",
        auto_retry_at=None,
        poisoned=False,
        **({} if undoing else _anew(change)),
        **columns,
    )
    if undoing:
        resume_undo(change)
    else:
        resume_forward(change)


def _anew(change: transitions.RunChange) -> dict[str, Any]:
    """Return the columns of a run that goes forward again: no error, and a fresh deadline."""
    deadline = transitions.later(change.run, _timeout(change.run))
    return {"deadline": deadline, "ends_as": "", "failed_step": "", "error_code": "", "error": ""}


def _timeout(run: SagaRun) -> timedelta:
    """Return a fresh time to run: what the saga declares now, or had at its start."""
    try:
        timeout: timedelta = registry.get(run.label).definition.timeout
    except UnknownSaga:
        return run.deadline - run.created_at
    return timeout


def resume_forward(change: transitions.RunChange) -> None:
    """Give every forward step that is not done its place again. Requires the run's lock."""
    rows = list(StepRun.objects.forward().filter(run_id=change.run.pk))
    places = decisions.replan(rows)
    for row in rows:
        if row.pk in places:
            place = places[row.pk]
            change.reset(row, place.state, blockers=place.blockers)
        elif row.state in {StepState.FAILED, StepState.UNKNOWN}:
            change.warn()
    change.restart_count(sum(not row.successors for row in rows if row.pk in places))
    if not places:
        change.move(SagaState.COMPLETED, EventType.COMPLETED)
    change.send_ready()


def resume_undo(change: transitions.RunChange) -> None:
    """Make what is not undone one chain again, whose first step is ready. Requires the run's lock.

    A step that reported a late success meanwhile is in it, whether it was undone before or not.
    """
    chain, in_flight = _not_undone(change)
    # What runs right now was undone later than what the chain begins with, so the chain waits for it.
    ahead = [str(step.pk) for step in chain[:1]]
    for step in in_flight:
        state = StepState(step.state)
        change.reset(step, state, blockers=0, successors=ahead, in_place=False)
    for step, following in zip_longest(chain, chain[1:]):
        blockers = len(in_flight) if step is chain[0] else 1
        change.reset(
            step,
            StepState.PENDING if blockers else StepState.READY,
            blockers=blockers,
            successors=[str(following.pk)] if following else [],
            in_place=False,
        )
    change.restart_count(1 if chain else len(in_flight))
    if not change.run.remaining:
        compensate.finish(change)
    change.send_ready()


def _not_undone(change: transitions.RunChange) -> tuple[list[StepRun], list[StepRun]]:
    """Return the compensations to do, in order, and those that run or wait right now."""
    rows = list(StepRun.objects.filter(run_id=change.run.pk))
    backward = {row.name: row for row in rows if row.is_backward}
    to_undo = compensate.to_undo([row for row in rows if not row.is_backward])
    planned = [
        backward.get(step.name)
        or transitions.insert_pending(compensate.undo_row(step, position=place))
        for place, step in enumerate(to_undo, start=len(backward))
    ]
    in_flight = [step for step in planned if step.state in IN_FLIGHT_STEPS]
    return [step for step in planned if step not in in_flight], in_flight
