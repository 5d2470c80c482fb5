"""See what a reaction publishes, without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

from sagas.choreography import PublishedEvent, collecting


@contextmanager
def collected_events() -> Iterator[list[PublishedEvent]]:
    """Gather what is published in the block: ``name``, ``key`` and ``data`` as JSON. Nothing is stored.

    For unit tests of a reaction::

        with collected_events() as events:
            reserve_stock(Event(OrderCreated(order_id=7)))
        assert [event.name for event in events] == ["StockReserved"]
    """
    with collecting(trace=None) as collected:
        yield collected.events
