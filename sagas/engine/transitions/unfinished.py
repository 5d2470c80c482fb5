"""Best-effort steps that a saga completes without, because its deadline passed."""

from django.db.models import Q
from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.moves import move_steps
from sagas.engine.transitions.waiting import end_waits
from sagas.models import StepRun
from sagas.states import IDLE_STEPS, UNSTARTED_STEPS, EventType, StepState


_EVENTS = {
    StepState.CANCELLED: EventType.STEP_CANCELLED,
    StepState.FAILED: EventType.STEP_FAILED,
    StepState.UNKNOWN: EventType.STEP_UNKNOWN,
}


def leave_unfinished(change: RunChange, *, note: str) -> list[str]:
    """End what of the forward steps has not ended, and return their names.

    Nothing new starts and nobody is waited for any more. An attempt that runs ends by itself, as a
    follow-up whose own time is over: it is recorded, not tried again, and moves nothing. What nobody
    waits for is left alone, unless its place never comes. The end of a child is waited for.
    """
    rest = Q(detached=False) | Q(state=StepState.PENDING)
    forward = StepRun.objects.forward().filter(rest, run_id=change.run.pk)
    # Locked before the running ones are looked at: a claim does not take the run's lock.
    columns = (
        "state",
        "attempt",
        "in_doubt",
        "options",
        "run_id",
        "name",
        "direction",
        "fence",
        "at_large",
        "wait",
    )
    open_ends = forward.filter(state__in=IDLE_STEPS)
    rows = list(open_ends.select_for_update().only(*columns))
    waiting = [row for row in rows if row.state == StepState.WAITING]
    end_waits(change, [row for row in waiting if not row.plan.child], reconcile=False)
    children = Q(pk__in=[row.pk for row in waiting if row.plan.child])
    unstarted = [row for row in rows if row.state in UNSTARTED_STEPS]
    for to, event in _EVENTS.items():
        moved = [row for row in unstarted if _end_of(row) == to]
        ended_at = None if to == StepState.CANCELLED else Now()
        move_steps(change, moved, to, event, note=note, ended_at=ended_at)
    running = forward.filter(state=StepState.RUNNING)
    names = [row.name for row in rows] + list(running.values_list("name", flat=True))
    forward.filter(Q(state=StepState.RUNNING) | children).update(
        detached=True, expires_at=Now(), updated_at=Now()
    )
    return names


def _end_of(step: StepRun) -> StepState:
    if step.in_doubt:
        return StepState.UNKNOWN
    return StepState.FAILED if step.attempt else StepState.CANCELLED
