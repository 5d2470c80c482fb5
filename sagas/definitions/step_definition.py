"""A step as the engine runs it: names instead of objects, every option decided."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sagas.definitions.annotations import codec_of, result_annotation
from sagas.definitions.options import StepOptions
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


@dataclass(frozen=True, kw_only=True, eq=False)
class StepDefinition:
    """One step of a saga."""

    name: str
    place: str
    """Where it is declared, for messages: ``FulfilOrder.reserve_inventory``."""

    handler: Callable[[Any], object]
    after: tuple[str, ...]
    """The steps it waits for; empty: it starts with the saga."""

    options: StepOptions
    pivot: bool
    critical: bool
    atomic: bool
    owner: str
    compensation: CompensationDefinition | None
    no_compensation_reason: str | None
    compensable_until: str | None
    """The step whose success ends the time in which this one is undone; None: that never ends."""

    formerly: tuple[str, ...] = ()
    """What rows that are older than this code call it."""

    condition: Callable[[Any], bool] | None
    reconcile: Callable[[Any], object] | None

    @cached_property
    def result_codec(self) -> Codec[Any]:
        """What carries the result to JSON and back.

        Raises:
            SagaDefinitionError: the return annotation is missing or cannot be stored.
        """
        annotation = result_annotation(self.handler, place=self.place)
        return codec_of(annotation, what=f"The result of {self.place}")
