"""``@on_event``: a function becomes a reaction."""

from collections.abc import Callable
from typing import TypeVar, Unpack

from sagas.choreography.event import Event
from sagas.choreography.reaction import Reaction, ReactionKeywords
from sagas.choreography.subscribers import subscribe


D = TypeVar("D")
R = TypeVar("R")


def on_event(
    event: str, /, **options: Unpack[ReactionKeywords]
) -> Callable[[Callable[[Event[D]], R]], Reaction[D, R]]:
    """Make a function of ``<app>/sagas.py`` react to each event of this name.

    It takes an ``Event[T]``, whose ``data`` is a ``T``; what it returns is stored, and given to its
    compensation. It says how it is undone as a step does: by ``@<reaction>.compensation`` or
    ``<reaction>.no_compensation("why")``. Options are those of ``@step``.

    Raises:
        SagaDefinitionError: the name, an option or the function's form is wrong, or another reaction
            of the same app and name reacts to this event.
    """

    def declare(handler: Callable[[Event[D]], R]) -> Reaction[D, R]:
        reaction = Reaction(handler, event, options)
        subscribe(reaction)
        return reaction

    return declare
