"""The saga's id on every log line that is written while one of its steps runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


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


def process_name(hostname: str, pid: int) -> str:
    """Return what names a worker process in rows: ``celery@host/4711``."""
    return f"{hostname}/{pid}"


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
