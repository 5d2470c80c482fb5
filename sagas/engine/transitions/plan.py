"""What follows a step, and the places of steps in a plan that is made anew."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.claiming import claim_ready, record_claim
from sagas.engine.transitions.insert import due_now, fresh_life
from sagas.engine.transitions.moves import move_step
from sagas.models import StepRun
from sagas.states import IN_FLIGHT_STEPS, STEP_ARROWS, EventType, StepState, require_arrow


def release_successors(change: RunChange, step: StepRun) -> None:
    """Lower the ``pending_predecessors`` of what follows ``step``; what reaches 0 becomes ready."""
    following = StepRun.objects.filter(pk__in=step.successors)
    last = When(pending_predecessors=1, state=StepState.PENDING, then=Value(StepState.READY))
    due = due_now(change.grace)
    following.update(
        pending_predecessors=F("pending_predecessors") - 1,
        state=Case(last, default=F("state")),
        updated_at=Now(),
        **{
            column: Case(
                When(pending_predecessors=1, state=StepState.PENDING, then=moment),
                default=F(column),
            )
            for column, moment in due.items()
        },
    )
    ready = list(following.filter(state=StepState.READY, pending_predecessors=0))
    if _take(change, step, [row for row in ready if not row.detached]):
        ready = [row for row in ready if row.detached]
    collect_ready(change, ready)


def _take(change: RunChange, ended: StepRun, ready: Sequence[StepRun]) -> bool:
    """Claim in place what ``ended`` made ready, where its plan and the claimant allow it."""
    if change.claimant is None or not ended.in_place or change.run.paused_at is not None:
        return False
    for step in ready:
        change.taken = claim_ready(step.pk, step.fence, change.claimant)
        if change.taken is not None:
            record_claim(change.event_log, change.taken, StepState.PENDING)
    return bool(ready)


def collect_ready(change: RunChange, ready: Iterable[StepRun]) -> None:
    """Tell that pending steps became ready, and have their messages sent by the caller."""
    require_arrow(STEP_ARROWS, StepState.PENDING, StepState.READY)
    for step in ready:
        change.event_log.record_step(EventType.STEP_READY, step, StepState.PENDING, StepState.READY)
        change.made_ready.append(step)


def send_ready(change: RunChange) -> None:
    """Have the messages of all ready steps sent: while the run stood still, nobody did."""
    change.made_ready += StepRun.objects.filter(run_id=change.run.pk, state=StepState.READY)


def reset(
    change: RunChange,
    step: StepRun,
    to: StepState,
    *,
    pending_predecessors: int,
    anew: bool = False,
    **columns: Any,
) -> None:
    """Give a step its place in a plan that is made anew; one that changes its state begins afresh.

    ``anew``: so does one that has not begun, for it belongs to a saga that begins once more.
    """
    moves = step.state != to
    is_elsewhere = step.pending_predecessors != pending_predecessors or bool(columns)
    columns["pending_predecessors"] = pending_predecessors
    if moves or (anew and to not in IN_FLIGHT_STEPS):
        due = due_now(change.grace) if to == StepState.READY else {}
        columns |= {**fresh_life(step), **due}
    elif not is_elsewhere:
        return
    if moves:
        move_step(change, step, to, EventType.STEP_RESTORED, **columns)
        step.state = to
    else:
        there = StepRun.objects.filter(pk=step.pk, state=to)
        there.update(updated_at=Now(), **columns)
