"""Sagas for Django and Celery: business processes that finish, or undo themselves.

The life of a saga, module by module::

    definitions   what a saga is: steps, their compensations, their order
    start         start_saga() validates, plans the rows and commits them with the caller
    dispatch      a ready row becomes a Celery message: two ids and a fence, after the commit
    execute       a worker claims the row, calls the handler and hands over the outcome
    advance       the outcome makes the next step ready, ends the saga, or turns it back
    compensate    turning back: what ran is undone, in reverse
    recover       what no message told: lost ones, dead workers, deadlines
    operations    what a human may do about it

The row is the truth; a message is only a hint to look at it. :mod:`sagas.transitions` is the only
writer of state. Nothing is imported here that needs Django's app registry.
"""

from typing import TYPE_CHECKING, Any

from sagas.definitions import Saga, step
from sagas.exceptions import OutcomeUnknown, PermanentError, SagaError, Wait


if TYPE_CHECKING:
    from sagas.start import astart_saga, start_saga, start_sagas

__all__ = [
    "OutcomeUnknown",
    "PermanentError",
    "Saga",
    "SagaError",
    "Wait",
    "astart_saga",
    "start_saga",
    "start_sagas",
    "step",
]


def __getattr__(name: str) -> Any:
    """Import what needs the models only when it is asked for."""
    if name in {"start_saga", "start_sagas", "astart_saga"}:
        from sagas import start  # noqa: PLC0415 the models exist only after django.setup()

        return getattr(start, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
