"""How every verb is done: lock the run, ask the verb's rule, change it, send what became ready."""

from collections.abc import Iterator
from contextlib import contextmanager

from sagas.conf import saga_settings
from sagas.engine import child_ends, dispatch, transitions
from sagas.engine.database import LockNotGranted, transaction_with_lock_timeout
from sagas.exceptions import TransactionLocked
from sagas.models import SagaRun, StepRun
from sagas.operations.allowed import refusal_error
from sagas.operations.predicates import steps_of
from sagas.operations.verbs import Refused, RunVerb, StepVerb


@contextmanager
def operating(run: SagaRun, verb: RunVerb) -> Iterator[transitions.RunChange]:
    """Open a transaction that holds the run's lock, and in which its state allows ``verb``.

    What the body makes ready is sent when it commits. A body that raises
    :class:`~sagas.operations.verbs.Refused` leaves nothing behind.

    Raises:
        ActionNotAllowed: the verb's rule refuses it, or the body does.
        TransactionLocked: another transaction kept the lock.
    """
    with _operating(run, verb.name) as change:
        _require(verb.refusal(change.run, steps_of(change.run)))
        yield change


@contextmanager
def operating_on_step(
    run: SagaRun, verb: StepVerb, name: str
) -> Iterator[tuple[transitions.RunChange, StepRun]]:
    """Do the same for the step that ``name`` means to ``verb``, which is yielded too.

    Raises:
        ActionNotAllowed: there is no such step, the verb's rule refuses it, or the body does.
        TransactionLocked: another transaction kept the lock.
    """
    with _operating(run, f"{verb.name} {name}") as change:
        steps = steps_of(change.run)
        found = verb.naming.find(change.run, steps, name)
        # A worker's claim does not wait for the lock. So the rule judges the very row, whole, whose
        # state and fence guard what is written then.
        step = StepRun.objects.get(pk=found.pk)
        _require(verb.refusal(change.run, steps, step))
        yield change, step


def reloaded(run: SagaRun) -> SagaRun:
    """Return the run as a verb left it; the caller's stays as it was."""
    return SagaRun.objects.get(pk=run.pk)


@contextmanager
def locked(run: SagaRun, action: str) -> Iterator[transitions.RunChange]:
    """Open a transaction that holds the run's lock; nobody who clicks waits for it without end.

    Raises:
        TransactionLocked: another transaction kept it for ``SAGAS["OPERATOR_LOCK_TIMEOUT_SECONDS"]``.
    """
    seconds = saga_settings().OPERATOR_LOCK_TIMEOUT_SECONDS
    try:
        with transaction_with_lock_timeout(seconds), transitions.change(run.pk) as change:
            yield change
    except LockNotGranted as error:
        message = (
            f"{run} is locked: {action} waited {seconds:g} s for another transaction and changed"
            " nothing. Try again; if it stays so, look for a transaction that was left open"
        )
        waited = int(seconds * 1000)
        raise TransactionLocked(message, run_id=run.pk, action=action, waited_ms=waited) from error


@contextmanager
def _operating(run: SagaRun, action: str) -> Iterator[transitions.RunChange]:
    with locked(run, action) as change:
        try:
            yield change
        except Refused as refused:
            raise refusal_error(change.run, action, str(refused)) from None
        dispatch.send_on_commit(change.run, change.made_ready)
        child_ends.tell_on_commit(change.run)


def _require(refusal: str | None) -> None:
    if refusal is not None:
        raise Refused(refusal)
