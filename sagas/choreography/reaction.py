"""A reaction: a function that is a step of the trace of an event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from sagas.choreography.event import Event, EventContext
from sagas.choreography.published import MAX_NAME, is_event_name
from sagas.definitions import Invocation, Step, StepDefinition
from sagas.definitions.annotations import MISSING, codec_of, first_annotation
from sagas.definitions.definition import app_label
from sagas.definitions.handler_form import place_of
from sagas.definitions.options import STEP_DEFAULTS_RULES, CompensationKeywords, check_options
from sagas.definitions.rules import FLAG, Rule
from sagas.exceptions import SagaDefinitionError
from sagas.payloads import Codec


D = TypeVar("D")
R = TypeVar("R")


class ReactionKeywords(CompensationKeywords, total=False):
    """What ``@on_event(...)`` takes besides the event: what ``@step`` takes, but for a place in a plan."""

    pivot: bool
    """Whether it is the point of no return: once it has succeeded, nothing is undone any more."""

    critical: bool
    """Whether the trace turns back with it. False: best effort, and the trace goes on with a warning."""


REACTION_RULES: Mapping[str, Rule] = MappingProxyType({**STEP_DEFAULTS_RULES, "pivot": FLAG})


@dataclass(frozen=True, kw_only=True, eq=False)
class ReactionDefinition(StepDefinition):
    """A reaction as the engine runs it: what it takes is an event."""

    @property
    def is_reaction(self) -> bool:
        """It is."""
        return True

    @cached_property
    def input_codec(self) -> Codec[Any]:
        """What carries the event's data, as ``event: Event[OrderCreated]`` says.

        Raises:
            SagaDefinitionError: the annotation is missing, or its type cannot be stored.
        """
        annotation = first_annotation(self.handler, place=self.place)
        if get_origin(annotation) is not Event:
            message = (
                f"{self.place} does not say what its event carries; annotate it:"
                " event: Event[OrderCreated]."
            )
            raise SagaDefinitionError(message)
        return codec_of((*get_args(annotation), MISSING)[0], what=f"The event of {self.place}")

    def received(self, carried: Mapping[str, Any], invocation: Invocation) -> Event[Any]:
        """Return the event that a row keeps.

        Raises:
            PayloadError: its data does not fit the annotation.
        """
        name = carried["event"]
        data = self.input_codec.load(carried["data"], what=f"the data of {name}")
        context = EventContext(
            saga_id=invocation.run.id,
            step=carried["step"],
            data=data,
            completed_steps=tuple(carried["completed_steps"]),
        )
        return Event(data, name=name, key=carried["key"], context=context, invocation=invocation)


class Reaction(Step[Event[D], R], Generic[D, R]):
    """A reaction as it was declared: a step that an event makes ready."""

    form: ClassVar = "(event)"
    defined_as: ClassVar = ReactionDefinition

    def __init__(
        self, handler: Callable[[Event[D]], R], event: str, options: Mapping[str, object]
    ) -> None:
        """Take ``handler`` for events of this name."""
        place = place_of(handler)
        if not is_event_name(event):
            message = (
                f"{place}: an event's name is letters, digits, '_' and '-',"
                f" at most {MAX_NAME} in all; {event!r:.100} is none."
            )
            raise SagaDefinitionError(message)
        checked = check_options(options, place=place, rules=REACTION_RULES)
        super().__init__(handler, after=[], options=checked)
        self.event = event

    def __call__(self, event: Event[D]) -> R:
        """Run its body here and now, as a unit test does; nothing is recorded."""
        result: R = self.handler(event)
        return result

    @property
    def identity(self) -> tuple[str, str]:
        """Where it is declared: the order of the reactions to one event is by this."""
        return self.handler.__module__, self.handler.__name__

    @property
    def qualified_name(self) -> str:
        """The name that rows have: ``inventory.reserve_stock``. Final when the app registry is ready."""
        return f"{app_label(self.handler.__module__)}.{self.handler.__name__}"
