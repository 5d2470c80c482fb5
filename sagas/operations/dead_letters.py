"""``retry`` and ``resolve``: what a human decides about a saga that cannot go on by itself."""

from django.db.models import F

from sagas.conf import MAX_RETRY_COUNT
from sagas.engine import dispatch, retry_dead_letter, transitions
from sagas.exceptions import RetryCapExceeded
from sagas.models import SagaRun, StepRun
from sagas.operations.allowed import blocking_steps, is_held, refuse, steps_of
from sagas.operations.locking import locked
from sagas.payloads import truncate_error
from sagas.states import EventType, SagaState, StepState


def retry_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Let a dead letter go on exactly where it stopped; what is done is not repeated.

    On its way back the failed compensation runs again, with the same key; after the point of no
    return the failed step does, with a fresh deadline. At most ``MAX_RETRY_COUNT`` times.

    Raises:
        ActionNotAllowed: it is not a dead letter, or a step holds that may have happened.
        RetryCapExceeded: it was retried as often as allowed.
    """
    with locked(run, "retry") as change:
        if change.run.state != SagaState.DEAD_LETTER:
            refuse(change.run, "retry", "it is not a dead letter")
        refuse_held(change.run, "retry")
        resume_counted(change, reason=reason, actor=actor)
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)


def refuse_held(run: SagaRun, action: str) -> None:
    """Refuse to go on past a step that holds: trying again does not tell whether it happened."""
    steps = steps_of(run)
    if is_held(run, steps):
        name = blocking_steps(run, steps)[0].name
        why = (
            f"nobody knows whether {name} happened: say so by skip_step, with a result if it did,"
            " or have it undone by compensate"
        )
        refuse(run, action, why)


def resume_counted(change: transitions.RunChange, *, reason: str, actor: str) -> None:
    """Let a dead letter go on, if it was not retried too often."""
    run = change.run
    count = run.retry_count
    if count >= MAX_RETRY_COUNT:
        message = f"{run} was retried {count} of {MAX_RETRY_COUNT} times; resolve it by hand"
        raise RetryCapExceeded(
            message, run_id=run.pk, state=run.state, count=count, max=MAX_RETRY_COUNT
        )
    retry_dead_letter.resume(
        change, note=truncate_error(reason), actor=actor, retry_count=F("retry_count") + 1
    )


def resolve_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Say that a dead letter was settled by hand; ``reason`` tells how. Nothing more will run.

    Raises:
        ActionNotAllowed: it is not a dead letter.
    """
    with locked(run, "resolve") as change:
        if change.run.state != SagaState.DEAD_LETTER:
            refuse(change.run, "resolve", "it is not a dead letter")
        waiting = StepRun.objects.filter(run_id=run.pk, state=StepState.WAITING)
        transitions.end_waits(change, waiting, reconcile=False)
        transitions.move_run(
            change, SagaState.RESOLVED, EventType.RESOLVED, note=truncate_error(reason), actor=actor
        )
    return SagaRun.objects.get(pk=run.pk)
