"""``retry`` and ``resolve``: what a human decides about a saga that cannot go on by itself."""

from django.db.models import F

from sagas.engine import retry_dead_letter, transitions
from sagas.models import SagaRun, StepRun
from sagas.operations.operating import operating, reloaded
from sagas.operations.predicates import Steps, blocking_steps, is_held, retries_spent
from sagas.operations.verbs import RunVerb, entered
from sagas.payloads import truncate_error
from sagas.states import EventType, SagaState, StepState


_NOT_DEAD = "it is not a dead letter"


def retry_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Let a dead letter go on exactly where it stopped; what is done is not repeated.

    On its way back the failed compensation runs again, with the same key; after the point of no
    return the failed step does, with a fresh deadline. At most ``MAX_RETRY_COUNT`` times.

    Raises:
        ActionNotAllowed: it is not a dead letter, or a step holds that may have happened.
        RetryCapExceeded: it was retried as often as allowed.
    """
    with operating(run, RETRY) as change:
        resume_counted(change, reason=reason, actor=actor)
    return reloaded(run)


def _retry_refusal(run: SagaRun, steps: Steps) -> str | None:
    if run.state != SagaState.DEAD_LETTER:
        return _NOT_DEAD
    return hold_refusal(run, steps) or retries_spent(run)


def hold_refusal(run: SagaRun, steps: Steps) -> str | None:
    """Refuse to go on past a step that holds: trying again does not tell whether it happened."""
    if not is_held(run, steps):
        return None
    return (
        f"nobody knows whether {blocking_steps(run, steps)[0].name} happened: say so by skip_step,"
        " with a result if it did, or have it undone by compensate"
    )


def resume_counted(change: transitions.RunChange, *, reason: str, actor: str) -> None:
    """Let a dead letter go on, and count that."""
    retry_dead_letter.resume(
        change, note=truncate_error(reason), actor=actor, retry_count=F("retry_count") + 1
    )


RETRY = entered(
    RunVerb(
        name="retry",
        help="let a dead letter go on where it stopped",
        permission="sagas.retry_sagarun",
        operation=retry_saga,
        refusal=_retry_refusal,
    )
)


def resolve_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Say that a dead letter was settled by hand; ``reason`` tells how. Nothing more will run.

    Raises:
        ActionNotAllowed: it is not a dead letter.
    """
    with operating(run, RESOLVE) as change:
        waiting = StepRun.objects.filter(run_id=run.pk, state=StepState.WAITING)
        transitions.end_waits(change, waiting, reconcile=False)
        transitions.move_run(
            change, SagaState.RESOLVED, EventType.RESOLVED, note=truncate_error(reason), actor=actor
        )
    return reloaded(run)


def _resolve_refusal(run: SagaRun, _steps: Steps) -> str | None:
    return None if run.state == SagaState.DEAD_LETTER else _NOT_DEAD


RESOLVE = entered(
    RunVerb(
        name="resolve",
        help="close a dead letter that was settled by hand",
        permission="sagas.resolve_sagarun",
        operation=resolve_saga,
        refusal=_resolve_refusal,
    )
)
