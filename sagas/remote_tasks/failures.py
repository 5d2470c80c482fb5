"""What is known when a remote task did not return.

Celery calls an error link for a task that raised, for one whose worker was lost or ran out of time,
and even for one that returned while its broker was away. Only the result backend tells them apart, if
the other side writes to one that is read here.
"""

import logging
import sys
from typing import Any

from celery import current_app, states
from celery.app.backends import by_url

from sagas.conf import saga_settings
from sagas.definitions import StepOptions
from sagas.engine.decisions import Reported
from sagas.exceptions import RemoteOutcomeUnknown, SagaError, StepTimeout, WorkerLost
from sagas.payloads import text_of


logger = logging.getLogger("sagas.remote")

CODE_LENGTH = 100

_LOST = frozenset({"WorkerLostError", "WorkerShutdown", "WorkerTerminate", "Terminated"})
_OUT_OF_TIME = frozenset({"TimeLimitExceeded", "SoftTimeLimitExceeded"})
_MESSAGING = frozenset({"amqp", "billiard", "celery", "kombu", "redis", "vine"})
"""What these raise may have come after the task had done its work: its result was to be sent."""

_UNSURE = frozenset({"EncodeError", "InterfaceError", "OperationalError"})
"""The same, of whatever module."""


def what_failed(task_id: str) -> BaseException | None:
    """Return the error of a task by the result backend; None where that does not tell."""
    try:
        meta = _backend().get_task_meta(task_id)
    except Exception:  # whatever a foreign result, or a backend that is away, may cause
        facts = {"action": "remote_error_not_read"}
        logger.warning("why %s failed cannot be read", task_id, exc_info=True, extra=facts)
        return None
    found = meta.get("result")
    is_failure = meta.get("status") in states.EXCEPTION_STATES - {states.RETRY}
    return found if is_failure and isinstance(found, BaseException) else None


def judged(
    error: BaseException | None, options: StepOptions, *, must_happen: bool = False
) -> Reported:
    """Say what a failure means: whether to ask again, and whether it may have happened.

    As for a handler of ours, an error that ``autoretry_for`` names leaves doubt and another attempt,
    and any other one is definite. ``must_happen``: after a doubt it is asked again in any case.
    """
    if error is None:
        unknown = RemoteOutcomeUnknown("the remote task failed or was lost; nothing tells which")
        return _in_doubt(unknown, options, must_happen=must_happen, given_up=True)
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    if name in _LOST:
        return _in_doubt(WorkerLost(text), options, must_happen=must_happen)
    if name in _OUT_OF_TIME:
        # Celery tells of the hard limit before it kills.
        given_up = name == "TimeLimitExceeded"
        return _in_doubt(StepTimeout(text), options, must_happen=must_happen, given_up=given_up)
    if name in _UNSURE or _is_of_messaging(type(error)):
        return _in_doubt(RemoteOutcomeUnknown(text), options, must_happen=must_happen)
    retried = _is_retried(error, options)
    code = text_of(name)[:CODE_LENGTH]
    return Reported(code=code, error=text_of(error), retryable=retried, in_doubt=retried)


def _in_doubt(
    error: SagaError, options: StepOptions, *, must_happen: bool, given_up: bool = False
) -> Reported:
    return Reported(
        code=error.code,
        error=text_of(error),
        retryable=must_happen or options.retries(type(error)),
        in_doubt=True,
        given_up=given_up and not must_happen,
    )


def _is_of_messaging(kind: type[BaseException]) -> bool:
    """Whether the class is of such a module; one that is not known here Celery calls one of its own."""
    module = kind.__module__
    known = getattr(sys.modules.get(module), kind.__name__, None) is kind
    return known and module.partition(".")[0] in _MESSAGING


def _is_retried(error: BaseException, options: StepOptions) -> bool:
    """Whether ``autoretry_for`` names its class, or, where that is not known here, one so called."""
    if options.spares(type(error)) or _names(error, options.dont_autoretry_for):
        return False
    return options.retries(type(error)) or _names(error, options.autoretry_for)


def _names(error: BaseException, classes: tuple[type[Exception], ...]) -> bool:
    return type(error).__name__ in {named.__name__ for named in classes}


def _backend() -> Any:
    wanted = saga_settings().REMOTE_RESULT_BACKEND
    if not wanted:
        return current_app.backend
    found: Any = by_url(wanted, current_app.loader)  # whose stubs know the class alone
    backend, url = found
    return backend(app=current_app, url=url)
