"""What a human changes by hand in a saga that is not at rest: pauses, and single steps.

All of it happens under the run's lock, and by guarded updates: a worker that claims a step at the
same moment wins or loses as any other does.
"""

from django.db.models import F, Q
from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import due_now, fresh_life
from sagas.engine.transitions.moves import move_step
from sagas.engine.transitions.plan import send_ready
from sagas.engine.transitions.run_time import end_pause
from sagas.models import SagaRun, StepRun
from sagas.states import EventType, SagaState, StepState


def pause(change: RunChange, *, note: str, actor: str) -> None:
    """Let no step of the run be claimed or sent from now on; what runs may end.

    The fence of the ready steps is raised, because a claim does not take the run's lock: one that
    began before this change then no longer finds its row.
    """
    SagaRun.objects.filter(pk=change.run.pk).update(paused_at=Now(), updated_at=Now())
    ready = StepRun.objects.filter(run_id=change.run.pk, state=StepState.READY)
    ready.update(fence=F("fence") + 1, updated_at=Now())
    change.run.refresh_from_db(fields=["paused_at"])
    change.event_log.record_run(EventType.PAUSED, change.run, "", "", note, actor)


def unpause(change: RunChange, *, note: str, actor: str) -> None:
    """Let a paused run go on; the time of the pause counts neither for it nor for its steps."""
    end_pause(change.run)
    change.event_log.record_run(EventType.RESUMED, change.run, "", "", note, actor)
    if change.run.state != SagaState.DEAD_LETTER:
        send_ready(change)


def reopen_step(change: RunChange, step: StepRun, *, note: str, actor: str) -> bool:
    """Make a step ready once more without which its saga has gone on: nothing will follow from it."""
    won = move_step(
        change,
        step,
        StepState.READY,
        EventType.STEP_RETRIED,
        note=note,
        actor=actor,
        guard=Q(fence=step.fence),
        detached=True,
        **fresh_life(step),
        **due_now(change.grace),
    )
    if won:
        change.made_ready.append(StepRun.objects.get(pk=step.pk))
    return won


def settle(
    change: RunChange, step: StepRun, to: StepState, *, output: object, note: str, actor: str
) -> bool:
    """Give a step the end that a human says it has; False when a worker claimed it meanwhile."""
    return move_step(
        change,
        step,
        to,
        EventType.STEP_SETTLED,
        note=note,
        actor=actor,
        guard=Q(fence=step.fence),
        output=output,
        in_doubt=False,
        error_code="",
        error="",
        ended_at=Now(),
    )
