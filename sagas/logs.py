"""The saga's id on every log line that is written while one of its steps runs, and few lines of outages."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from secrets import token_hex


_saga_id: ContextVar[str] = ContextVar("saga_id", default="-")
_step: ContextVar[str] = ContextVar("saga_step", default="-")


@contextmanager
def saga_context(*, saga_id: str, step: str) -> Iterator[None]:
    """Mark the log lines of the block."""
    tokens = _saga_id.set(saga_id), _step.set(step)
    try:
        yield
    finally:
        _saga_id.reset(tokens[0])
        _step.reset(tokens[1])


_BOOT = token_hex(4)
"""Of this process and all that it forks: drawn when a worker's main process loads this module."""


def process_name(hostname: str, pid: int) -> str:
    """Return what names a worker process in rows: ``celery@host/4711-9f3c2a1b``.

    Replicas may have one node name, containers count their processes from 1, and both begin anew after
    a restart; so the name ends with what is drawn anew at every boot.
    """
    return f"{hostname}/{pid}-{_BOOT}"


class SagaContextFilter(logging.Filter):
    """Give every record ``saga_id`` and ``saga_step``; "-" outside a step.

    Name it in ``LOGGING["filters"]`` and add it to a handler; then ``{saga_id}`` works in formats.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drop a record."""
        if not hasattr(record, "saga_id"):
            record.saga_id = _saga_id.get()
        record.saga_step = _step.get()
        return True


LOG_AGAIN_AFTER_SECONDS = 10.0
"""How often an outage that lasts is told of again."""


class Outage:
    """Tells of what fails at every round in few lines: at first, while it lasts, and at its end.

    ``what`` begins the sentences ("sweep"), ``action`` the machine words ("sweep": ``sweep_failed``,
    ``sweep_recovered``). Each traceback is logged at DEBUG.
    """

    def __init__(
        self,
        logger: logging.Logger,
        what: str,
        action: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know of no failure yet."""
        self._logger = logger
        self._what = what
        self._action = action
        self._clock = clock
        self._since: float | None = None
        self._logged_at = 0.0

    def failed(self, error: Exception) -> None:
        """Say it, unless it was said a moment ago."""
        now = self._clock()
        facts = {"action": f"{self._action}_failed"}
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        if self._since is None:
            self._since = self._logged_at = now
            self._logger.warning("%s failed: %s", self._what, cause, extra=facts)
        elif now - self._logged_at >= LOG_AGAIN_AFTER_SECONDS:
            self._logged_at = now
            lasting = now - self._since
            self._logger.warning(
                "%s has been failing for %.0f s: %s", self._what, lasting, cause, extra=facts
            )
        self._logger.debug("%s failed", self._what, exc_info=error, extra=facts)

    def over(self) -> None:
        """It worked: say so, if it had failed."""
        if self._since is not None:
            lasted = self._clock() - self._since
            self._since = None
            facts = {"action": f"{self._action}_recovered"}
            self._logger.info("%s works again after %.0f s", self._what, lasted, extra=facts)
