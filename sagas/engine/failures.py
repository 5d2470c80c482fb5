"""What it means that a handler did not return: whether to try again, and whether it may have happened.

What a handler raises is its own word. It can be told of whatever it is: an exception without text, a
code that is a number, ten megabytes of message.
"""

from asyncio import CancelledError

from billiard.exceptions import SoftTimeLimitExceeded

from sagas.definitions import CompensationDefinition, StepDefinition
from sagas.engine.database import is_connection_lost
from sagas.engine.decisions import Failed
from sagas.exceptions import (
    OutcomeUnknown,
    PermanentError,
    RequestNotSent,
    SagaCancelled,
    SagaError,
    StepTimeout,
)
from sagas.payloads import text_of


CODE_LENGTH = 100

_FRAMEWORKS = frozenset({"anyio", "eventlet", "gevent", "trio"})
"""Their cancellations and time-outs are no ``Exception`` either."""


def ends_the_process(error: BaseException) -> bool:
    """Whether an exception ends more than the attempt; every other one is the attempt's outcome."""
    if isinstance(error, Exception | CancelledError | GeneratorExit):
        return False
    return type(error).__module__.partition(".")[0] not in _FRAMEWORKS


def classify(error: BaseException, handler: StepDefinition | CompensationDefinition) -> Failed:
    """Say what an exception of a handler means.

    ``handler`` has the options of the step, or of the compensation.
    """
    options = handler.options
    if isinstance(error, PermanentError):
        return failed(error)
    if isinstance(error, OutcomeUnknown | SagaCancelled):
        return failed(error, in_doubt=True)
    if isinstance(error, RequestNotSent):
        return failed(error, retryable=True, in_doubt=error.in_doubt)
    if isinstance(error, SoftTimeLimitExceeded):
        limit = options.soft_time_limit
        which = f" of {limit:g} s" if limit is not None else ", CELERY_TASK_SOFT_TIME_LIMIT,"
        timeout = StepTimeout(f"the soft time limit{which} was reached")
        return failed(timeout, retryable=True, in_doubt=True)
    if not isinstance(error, Exception):  # cancelled in mid-work
        return failed(error, retryable=True, in_doubt=True)
    lost = is_connection_lost(error) and not options.spares(type(error))
    retryable = lost or options.retries(type(error))
    return failed(error, retryable=retryable, in_doubt=retryable)


def failed(error: BaseException, *, retryable: bool = False, in_doubt: bool = False) -> Failed:
    """Return the outcome that tells of ``error``."""
    name = type(error).__name__
    code = text_of(error.code) if isinstance(error, SagaError) and error.code else name
    return Failed(
        code=code[:CODE_LENGTH], error=text_of(error), retryable=retryable, in_doubt=in_doubt
    )
