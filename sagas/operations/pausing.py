"""``pause`` and ``resume``: nothing new starts for a while."""

from sagas.engine import transitions
from sagas.models import SagaRun
from sagas.operations.operating import operating, reloaded
from sagas.operations.predicates import Steps
from sagas.operations.verbs import RunVerb, entered
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
    with operating(run, PAUSE) as change:
        transitions.pause(change, note=truncate_error(reason), actor=actor)
    return reloaded(run)


def _pause_refusal(run: SagaRun, _steps: Steps) -> str | None:
    if run.state not in ACTIVE_SAGAS:
        return "it is neither running nor compensating"
    return None if run.paused_at is None else "it is paused already"


PAUSE = entered(
    RunVerb(
        name="pause",
        help="start no step of it any more, until it is resumed",
        permission="sagas.pause_sagarun",
        operation=pause_saga,
        refusal=_pause_refusal,
    )
)


def resume_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Let a paused saga go on; it has as much time left as it had when it was paused.

    A paused dead letter still waits for a human, or for its next automatic retry.

    Raises:
        ActionNotAllowed: it is not paused.
    """
    with operating(run, RESUME) as change:
        transitions.unpause(change, note=truncate_error(reason), actor=actor)
    return reloaded(run)


def _resume_refusal(run: SagaRun, _steps: Steps) -> str | None:
    return "it is not paused" if run.paused_at is None else None


RESUME = entered(
    RunVerb(
        name="resume",
        help="let a paused saga go on",
        permission="sagas.pause_sagarun",
        operation=resume_saga,
        refusal=_resume_refusal,
    )
)
