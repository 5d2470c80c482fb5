"""A step as the engine runs it: names instead of objects, every option decided."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from sagas.definitions.annotations import codec_of, parameter_annotation, result_annotation
from sagas.definitions.child_run import ChildRun
from sagas.definitions.handler_form import takes_value
from sagas.definitions.options import StepOptions
from sagas.definitions.remote_task import RemoteTask
from sagas.exceptions import PayloadError
from sagas.payloads import Codec


@dataclass(frozen=True, kw_only=True)
class CompensationDefinition:
    """How a step is undone."""

    name: str
    """Of the method."""

    handler: Callable[[Any, Any], object]
    """Called with the saga and the step's result, or None when the outcome is unknown."""

    options: StepOptions
    atomic: bool
    owner: str
    remote_task: RemoteTask | None = None
    """Who does it, if another code base does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StepDefinition:
    """One step of a saga."""

    name: str
    place: str
    """Where it is declared, for messages: ``FulfilOrder.reserve_inventory``."""

    handler: Callable[..., object]
    after: tuple[str, ...]
    """The steps it waits for; empty: it starts with the saga."""

    follows_above: bool = False
    """Whether ``after`` was not said, so that it is the step written above."""

    options: StepOptions
    pivot: bool
    critical: bool
    wait: bool
    """Whether its saga waits for its end; if not, nothing comes after it."""

    atomic: bool
    owner: str
    compensation: CompensationDefinition | None
    no_compensation_reason: str | None
    compensable_until: str | None
    """The step whose success ends the time in which this one is undone; None: that never ends."""

    formerly: tuple[str, ...] = ()
    """What rows that are older than this code call it."""

    condition: Callable[..., bool] | None
    reconcile: Callable[..., object] | None
    inputs: Callable[[Any], object] | None = None
    """Yields its input before the first attempt; None where ``plan()`` binds it."""

    takes_input: bool = False
    """Whether its handler takes one argument besides ``self``."""

    remote_task: RemoteTask | None = None
    """Who does it, if another code base does; its input is the arguments."""

    child: Any = None
    """The class of the saga that it runs, if it is one of its own."""

    awaits_child: bool = True
    """Whether it ends with that saga, or as soon as that is started."""

    @cached_property
    def result_codec(self) -> Codec[Any]:
        """What carries the result to JSON and back.

        Raises:
            SagaDefinitionError: the return annotation is missing or cannot be stored.
        """
        is_child = self.child is not None
        annotation = ChildRun if is_child else result_annotation(self.handler, place=self.place)
        return codec_of(annotation, what=f"The result of {self.place}")

    @property
    def is_reaction(self) -> bool:
        """Whether it is given an event, and is a step of a trace."""
        return False

    def result_from(self, said: object, *, what: str) -> object:
        """Return as its result what a remote task returned; nothing, if it declares none.

        ``said`` may hold what Celery's JSON brings besides JSON: dates, decimals, UUIDs.

        Raises:
            PayloadError: it does not fit the type.
        """
        codec = self.result_codec
        if codec.annotation is type(None):
            return None
        try:
            data = to_jsonable_python(said)
        except PydanticSerializationError as error:
            raise PayloadError(f"{what} cannot be stored as JSON: {error}") from None
        return codec.load(data, what=what)

    @cached_property
    def input_codec(self) -> Codec[Any]:
        """What carries its input to JSON and back, if it takes one.

        Raises:
            SagaDefinitionError: the annotation is missing or cannot be stored.
        """
        annotation = parameter_annotation(self.handler, place=self.place)
        return codec_of(annotation, what=f"The input of {self.place}")

    @cached_property
    def condition_takes_input(self) -> bool:
        """Whether its condition is told the input, which is then computed before it is asked."""
        return takes_value(self.condition)

    @cached_property
    def reconcile_takes_input(self) -> bool:
        """Whether its reconcile is told the input."""
        return takes_value(self.reconcile)
