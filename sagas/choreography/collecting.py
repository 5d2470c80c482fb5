"""What an attempt of a reaction publishes, gathered until its outcome is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from sagas.choreography.published import PublishedEvent
from sagas.exceptions import SagaError, TraceTooLong


MAX_EVENTS = 1000
"""An attempt that publishes more goes round in a circle."""


@dataclass(kw_only=True)
class Collected:
    """The events of one attempt. They are written with its success, or never."""

    trace: Any
    """The run that the attempt is of."""

    events: list[PublishedEvent] = field(default_factory=list)

    refused: SagaError | None = None
    """The error raised to the handler because an event cannot be published. It may have acted before."""

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Keep why an event cannot be published."""
        try:
            yield
        except SagaError as error:
            self.refused = error
            raise

    def add(self, event: PublishedEvent) -> None:
        """Take one; of a name and key that are there already, none.

        Raises:
            TraceTooLong: there are too many.
        """
        if event.key and any((event.name, event.key) == (e.name, e.key) for e in self.events):
            return
        if len(self.events) >= MAX_EVENTS:
            raise TraceTooLong(f"one attempt published more than {MAX_EVENTS} events")
        self.events.append(event)


_current: ContextVar[Collected | None] = ContextVar("sagas_collected_events", default=None)


def collected_now() -> Collected | None:
    """Return what the attempt that runs here has published; None outside of a reaction."""
    return _current.get()


@contextmanager
def collecting(trace: Any) -> Iterator[Collected]:
    """Gather what is published in the block. A thread that is begun in it is outside."""
    collected = Collected(trace=trace)
    token = _current.set(collected)
    try:
        yield collected
    finally:
        _current.reset(token)
