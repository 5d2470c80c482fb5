"""``pause`` and ``resume``: nothing new starts for a while."""

from sagas.engine import dispatch, transitions
from sagas.models import SagaRun
from sagas.operations.allowed import refuse
from sagas.operations.locking import locked
from sagas.payloads import truncate_error
from sagas.states import ACTIVE_SAGAS


def pause_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Start no step of an active saga any more, forward or backward, until it is resumed.

    Steps that run now may end, and their outcome is recorded. The deadline stands still. A saga that
    becomes a dead letter meanwhile stays paused: it is not retried by itself, and one that is retried
    by hand goes on when it is resumed.

    Raises:
        ActionNotAllowed: it is not active, or paused already.
    """
    with locked(run, "pause") as change:
        if change.run.state not in ACTIVE_SAGAS:
            refuse(change.run, "pause", "it is neither running nor compensating")
        if change.run.paused_at is not None:
            refuse(change.run, "pause", "it is paused already")
        transitions.pause(change, note=truncate_error(reason), actor=actor)
    return SagaRun.objects.get(pk=run.pk)


def resume_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Let a paused saga go on; it has as much time left as it had when it was paused.

    A paused dead letter still waits for a human, or for its next automatic retry.

    Raises:
        ActionNotAllowed: it is not paused.
    """
    with locked(run, "resume") as change:
        if change.run.paused_at is None:
            refuse(change.run, "resume", "it is not paused")
        transitions.unpause(change, note=truncate_error(reason), actor=actor)
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)
