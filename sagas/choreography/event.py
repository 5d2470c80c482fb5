"""What a reaction is given: the event, and the trace seen from this attempt."""

from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from sagas.definitions import Invocation, Saga, UndoneStep


D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class EventContext(Generic[D]):
    """What an event carries besides its name, from where it was published to its reactions."""

    saga_id: UUID
    """The trace that it is of."""

    step: str
    """The reaction that published it; empty: it began the trace."""

    data: D
    completed_steps: tuple[str, ...] = ()
    """The reactions that led to it, in order, with the one that published it."""


class Event(Saga[D]):
    """An event whose data is a ``D``, seen from one attempt of one reaction.

    It is to a reaction what ``self`` is to a step: ``run``, ``attempt``, ``idempotency_key``,
    ``undoing``, ``heartbeat()``, ``set_tags()``, ``logger``. A unit test makes one itself::

        reserve_stock(Event(OrderCreated(order_id=7)))
    """

    def __init__(
        self,
        data: D,
        *,
        name: str = "rehearsed",
        key: str = "",
        context: EventContext[D] | None = None,
        invocation: Invocation | None = None,
        undoing: UndoneStep | None = None,
    ) -> None:
        """Take the data; ``undoing`` is what a compensation under test undoes."""
        super().__init__(data, invocation=invocation, undoing=undoing)
        self.name = name
        self.key = key
        """What makes it this event and no other, in its trace; empty if nobody said."""
        self.context = context or EventContext(saga_id=self.run.id, step="", data=data)

    @property
    def data(self) -> D:
        """What was published, as the reaction's annotation says."""
        return self.input
