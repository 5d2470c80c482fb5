"""What reacts to an event: kept together and registered as the steps of a saga are."""

from collections.abc import Iterator, Sequence
from types import new_class
from typing import Any, ClassVar

from django.apps import apps
from pydantic import JsonValue

from sagas.choreography.event import Event
from sagas.choreography.published import MAX_NAME, label_of
from sagas.choreography.reaction import Reaction
from sagas.definitions import Problem, Saga, SagaDefinition, registry
from sagas.definitions.problems import unstorable
from sagas.definitions.saga import define
from sagas.exceptions import SagaDefinitionError


AnyReaction = Reaction[Any, Any]


class _Definition:
    """Made when somebody asks for it.

    A compensation is declared after its reaction, and the label of an app may be known later still.
    """

    def __get__(self, _: object, owner: "type[Subscribers]") -> SagaDefinition:
        if owner.made is None:
            for reaction in owner.reactions:
                reaction.__set_name__(owner, reaction.qualified_name)
                type.__setattr__(owner, reaction.qualified_name, reaction)
            _check_names(owner.reactions)
            owner.made = define(owner)
        return owner.made


class Subscribers(Event[JsonValue]):
    """The reactions to one event. There is a subclass for each event, whose steps they are."""

    reactions: ClassVar[Sequence[AnyReaction]] = ()
    made: ClassVar[SagaDefinition | None] = None

    def __init_subclass__(cls, *, event: str, reactions: Sequence[AnyReaction]) -> None:
        """Register the class; its body is empty, and its steps are ``reactions``."""
        super(Saga, cls).__init_subclass__()
        cls.Meta = type("Meta", (), {"label": label_of(event)})  # type: ignore[attr-defined]
        cls.reactions = reactions
        cls.made = None
        cls.definition = _Definition()  # type: ignore[assignment]  # which gives one
        registry.register(cls)


def subscribers(event: str) -> type[Subscribers] | None:
    """Return what reacts to events of this name; None if nothing does."""
    found = registry.declared_as(f"{__name__}.{event}")
    return found if found is not None and issubclass(found, Subscribers) else None


def subscribe(reaction: AnyReaction) -> None:
    """Add a reaction; one of the same module and name was imported again, and is replaced.

    Raises:
        SagaDefinitionError: its name is too long, or is taken.
    """
    found = subscribers(reaction.event)
    others = [] if found is None else found.reactions
    reactions = [other for other in others if other.identity != reaction.identity]
    reactions = sorted([*reactions, reaction], key=lambda one: one.identity)
    if apps.apps_ready:
        _check_names(reactions)
    where = {"event": reaction.event, "reactions": reactions}
    new_class(reaction.event, (Subscribers,), where, _in_this_module)


def reaction_problems(saga: type) -> Iterator[Problem]:
    """Yield what is wrong with reactions besides what can be wrong with any step."""
    if not issubclass(saga, Subscribers):
        return
    for step in saga.definition.steps:
        yield from unstorable(saga.definition.label, lambda step=step: step.input_codec)  # type: ignore[misc]


def _check_names(reactions: Sequence[AnyReaction]) -> None:
    taken: dict[str, AnyReaction] = {}
    for reaction in reactions:
        name = reaction.qualified_name
        if len(name) > MAX_NAME:
            message = f"{reaction.place}: the name {name} is longer than {MAX_NAME}; shorten it."
            raise SagaDefinitionError(message)
        if name in taken:
            modules = " and ".join(one.identity[0] for one in (taken[name], reaction))
            message = (
                f"{reaction.place}: two reactions to {reaction.event} are called {name}, in {modules};"
                " rename one of the functions."
            )
            raise SagaDefinitionError(message)
        taken[name] = reaction


def _in_this_module(body: dict[str, object]) -> None:
    """Give a class its place, by which the registry knows it."""
    body["__module__"] = __name__
