"""Best-effort steps that a saga completes without, because its deadline passed."""

from collections.abc import Sequence

from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.waiting import end_waits
from sagas.models import StepRun
from sagas.states import STEP_ARROWS, UNSTARTED_STEPS, EventType, StepState, require_arrow


_EVENTS = {
    StepState.CANCELLED: EventType.STEP_CANCELLED,
    StepState.FAILED: EventType.STEP_FAILED,
    StepState.UNKNOWN: EventType.STEP_UNKNOWN,
}


def leave_unfinished(change: RunChange, *, note: str) -> list[str]:
    """End what of the forward steps has not ended, and return their names.

    Nothing new starts and nobody is waited for any more. An attempt that runs ends by itself, as a
    follow-up whose own time is over: it is recorded, not tried again, and moves nothing. What was
    tried again by hand is left alone, for the saga has long gone on without it.
    """
    forward = StepRun.objects.forward().filter(run_id=change.run.pk, detached_retry=False)
    # Locked before the running ones are looked at: a claim does not take the run's lock.
    columns = ("state", "attempt", "in_doubt", "options", "run_id", "name", "direction")
    open_ends = forward.filter(state__in=(*UNSTARTED_STEPS, StepState.WAITING))
    rows = list(open_ends.select_for_update().only(*columns))
    end_waits(change, [row for row in rows if row.state == StepState.WAITING], ask=False)
    unstarted = [row for row in rows if row.state in UNSTARTED_STEPS]
    for came_from in UNSTARTED_STEPS:
        for to in _EVENTS:
            moved = [row for row in unstarted if row.state == came_from and _end_of(row) == to]
            _end(change, moved, came_from, to, note)
    running = forward.filter(state=StepState.RUNNING)
    names = [row.name for row in rows] + list(running.values_list("name", flat=True))
    running.update(detached_retry=True, expires_at=Now(), updated_at=Now())
    return names


def _end_of(step: StepRun) -> StepState:
    if step.in_doubt:
        return StepState.UNKNOWN
    return StepState.FAILED if step.attempt else StepState.CANCELLED


def _end(
    change: RunChange, steps: Sequence[StepRun], came_from: StepState, to: StepState, note: str
) -> None:
    if not steps:
        return
    require_arrow(STEP_ARROWS, came_from, to)
    StepRun.objects.filter(pk__in=[step.pk for step in steps], state=came_from).update(
        state=to,
        asking=False,
        updated_at=Now(),
        ended_at=None if to == StepState.CANCELLED else Now(),
    )
    for step in steps:
        change.event_log.record_step(_EVENTS[to], step, came_from, to, note)
