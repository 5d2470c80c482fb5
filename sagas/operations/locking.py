"""The run's lock, for operators: nobody who clicks waits for it without end."""

from collections.abc import Iterator
from contextlib import contextmanager

from sagas.conf import saga_settings
from sagas.engine import transitions
from sagas.engine.database import LockNotGranted, transaction_with_lock_timeout
from sagas.exceptions import TransactionLocked
from sagas.models import SagaRun


@contextmanager
def locked(run: SagaRun, action: str) -> Iterator[transitions.RunChange]:
    """Open a transaction that holds the run's lock, as :func:`sagas.engine.transitions.change` does.

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
