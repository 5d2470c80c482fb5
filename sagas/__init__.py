"""Sagas for Django and Celery: business processes that finish, or undo themselves.

Rooms, from the door inwards; what is not named here is public as well, ``engine`` alone is not::

    admin, management, testing     people at a page, at a command line, in a test
    api, urls                      outside parties, by HTTP
    worker                         what Celery loads: tasks, and what a worker starts and stops
    operations                     what an operator may do to a run
    idempotency                    once(), for the effects of a handler
    checks, health, retention      manage.py check, the readiness of the whole, the end of old runs
    engine                         private: how a saga is started, run, undone and recovered
    choreography                   services that react to each other's events
    definitions                    what a saga is: steps, their compensations, their order
    models                         the rows: the truth, of which a message is only a hint

Nothing is imported here that needs Django's app registry.
"""

from typing import TYPE_CHECKING, Any

from sagas.choreography import Event, on_event
from sagas.definitions import Approval, Saga, child, remote, step
from sagas.exceptions import OutcomeUnknown, PermanentError, SagaError, Wait


if TYPE_CHECKING:
    from sagas.engine.publish import publish
    from sagas.engine.start import astart_saga, start_saga, start_sagas

__all__ = [
    "Approval",
    "Event",
    "OutcomeUnknown",
    "PermanentError",
    "Saga",
    "SagaError",
    "Wait",
    "astart_saga",
    "child",
    "on_event",
    "publish",
    "remote",
    "start_saga",
    "start_sagas",
    "step",
]


def __getattr__(name: str) -> Any:
    """Import what needs the models only when it is asked for."""
    if name in {"start_saga", "start_sagas", "astart_saga"}:
        from sagas.engine import start  # noqa: PLC0415 the models exist only after django.setup()

        return getattr(start, name)
    if name == "publish":
        from sagas.engine.publish import publish  # noqa: PLC0415 as above

        return publish
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
