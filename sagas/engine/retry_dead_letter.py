"""A dead letter goes on exactly where it stopped; what is done is not repeated.

While it stood still, steps in flight ended and nothing followed from it. So the plan is made anew
from what the rows say, instead of by counters that went on in the meantime.
"""

from datetime import timedelta
from typing import Any

from sagas.definitions import registry
from sagas.engine import compensate, decisions, transitions
from sagas.exceptions import UnknownSaga
from sagas.models import SagaRun, StepRun
from sagas.states import IN_FLIGHT_STEPS, UNSUCCESSFUL_STEPS, EventType, SagaState


def resume(change: transitions.RunChange, *, note: str, actor: str, **columns: Any) -> None:
    """Let a dead letter go on in its direction, forward with a fresh deadline.

    ``columns`` are further columns of the run, such as the count of retries.
    """
    undoing = is_turned(change.run, StepRun.objects.filter(run_id=change.run.pk))
    transitions.move_run(
        change,
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
        compensate.begin_undo_if_idle(change, anew=True)
    else:
        resume_forward(change)


def is_turned(run: SagaRun, steps: Any) -> bool:
    """Whether a dead letter goes on backward: it began to undo, or was about to. ``steps`` are all."""
    rows = list(steps)
    if any(step.is_backward for step in rows):
        return True
    return bool(run.outcome_when_undone) and not decisions.may_be_past_pivot(run, rows)


def _anew(change: transitions.RunChange) -> dict[str, Any]:
    """Return the columns of a run that goes forward again: no error, and a fresh deadline."""
    deadline = transitions.later(change.run, _timeout(change.run))
    return {
        "deadline": deadline,
        "outcome_when_undone": "",
        "failed_step": "",
        "error_code": "",
        "error": "",
    }


def _timeout(run: SagaRun) -> timedelta:
    """Return a fresh time to run: what the saga declares now, or had at its start."""
    try:
        timeout: timedelta = registry.get(run.label).definition.timeout
    except UnknownSaga:
        return run.deadline - run.created_at
    return timeout


def resume_forward(change: transitions.RunChange) -> None:
    """Give every forward step that is not done its place again."""
    rows = list(StepRun.objects.forward().filter(run_id=change.run.pk))
    places = decisions.replan(rows)
    for row in rows:
        if row.pk in places:
            place = places[row.pk]
            anew = row.state not in IN_FLIGHT_STEPS
            transitions.reset(
                change, row, place.state, pending_predecessors=place.pending_predecessors, anew=anew
            )
        elif row.state in UNSUCCESSFUL_STEPS:
            transitions.set_warning(change)
    awaited = [row for row in rows if row.pk in places and not row.detached]
    transitions.restart_count(change, sum(row.is_last for row in awaited))
    if not awaited:
        transitions.move_run(change, SagaState.COMPLETED, EventType.COMPLETED)
    transitions.send_ready(change)
