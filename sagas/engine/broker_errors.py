"""What an error of sending is about: the broker, which is away or takes nothing, or one message alone."""

from amqp import exceptions as amqp
from kombu.exceptions import LimitExceeded, OperationalError


_REFUSALS = (
    "OOM",
    "MISCONF",
    "READONLY",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "LOADING",
    "NOAUTH",
)
_REFUSAL_CLASSES = frozenset(
    {
        "BusyLoadingError",
        "ClusterDownError",
        "MasterDownError",
        "NoPermissionError",
        "OutOfMemoryError",
        "ReadOnlyError",
    }
)
"""How Redis says that it is up and takes no message at all. By name: it may not be installed."""


class BrokerBlocked(Exception):
    """RabbitMQ takes no messages until an alarm is over, of its memory or its disk."""


def is_about_broker(error: BaseException) -> bool:
    """Whether any other message would meet the same error now."""
    if isinstance(error, OperationalError):
        # Celery's word for both; what it was made from tells them apart.
        cause = error.__cause__
        return cause is None or not isinstance(cause, amqp.ChannelError)
    if isinstance(error, BrokerBlocked | LimitExceeded | amqp.ConnectionError):
        return True
    if isinstance(error, UnicodeError | KeyError):
        return False
    return isinstance(error, OSError) or _is_from_redis(error)


def is_about_channel(error: BaseException) -> bool:
    """Whether the broker closed the channel, maybe for the message before."""
    return isinstance(error, amqp.ChannelError) or isinstance(error.__cause__, amqp.ChannelError)


def _is_from_redis(error: BaseException) -> bool:
    kind = type(error)
    if not kind.__module__.startswith("redis."):
        return False
    names = {base.__name__ for base in kind.__mro__}
    if names & {"ConnectionError", "TimeoutError"} or names & _REFUSAL_CLASSES:
        return True
    return any(word in str(error) for word in _REFUSALS)
