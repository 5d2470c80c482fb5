"""Services react to each other's events, and nobody coordinates them.

``@on_event`` (``decorator.py``) makes a function a reaction, which is a step (``reaction.py``). What reacts to one
event is kept together by ``subscribers.py``, as a saga keeps its steps, so that whatever knows sagas
knows reactions. ``event.py`` is what a reaction is given, ``published.py`` what an event is between the
two, and ``collecting.py`` gathers what an attempt publishes. Writing it is the engine's.
"""

from sagas.choreography.collecting import Collected, collected_now, collecting
from sagas.choreography.decorator import on_event
from sagas.choreography.event import Event, EventContext
from sagas.choreography.published import PublishedEvent
from sagas.choreography.reaction import Reaction, ReactionDefinition
from sagas.choreography.subscribers import reaction_problems, subscribers


__all__ = [
    "Collected",
    "Event",
    "EventContext",
    "PublishedEvent",
    "Reaction",
    "ReactionDefinition",
    "collected_now",
    "collecting",
    "on_event",
    "reaction_problems",
    "subscribers",
]
