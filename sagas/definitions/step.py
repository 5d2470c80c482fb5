"""``@step`` and what hangs on it: compensation, condition, reconcile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypedDict, TypeVar, Unpack, overload

from sagas.definitions.context import SagaContext, StepHandle
from sagas.definitions.handler_form import check_handler, place_of
from sagas.definitions.invocation import NO_VALUE
from sagas.definitions.options import (
    COMPENSATION_RULES,
    CompensationKeywords,
    RemoteKeywords,
    check_options,
)
from sagas.definitions.remote_task import RemoteTask, refuse_options
from sagas.definitions.rules import is_text
from sagas.definitions.step_definition import StepDefinition
from sagas.exceptions import SagaDefinitionError


S = TypeVar("S", bound=SagaContext[Any])
A = TypeVar("A")
R = TypeVar("R")


class PlaceKeywords(TypedDict, total=False):
    """What a step is to its saga, whoever does it."""

    pivot: bool
    """Whether it is the point of no return: once it has succeeded, nothing is undone any more."""

    critical: bool
    """Whether the saga fails with it. False: best effort, and the saga completes with a warning."""

    wait: bool
    """Whether the saga waits for its end. False: fire and forget; only a step that is not critical."""

    compensable_until: str
    """The name of a later step; once that has succeeded, this one is no longer undone."""

    formerly: str | Sequence[str]
    """What the step was called by code of before: rows and messages of that name find it."""


class StepKeywords(CompensationKeywords, PlaceKeywords, total=False):
    """What ``@step(...)`` takes besides ``after``."""


@dataclass(frozen=True, kw_only=True)
class Undo:
    """A compensation as it was declared."""

    handler: Callable[..., object]
    options: Mapping[str, object]
    task: RemoteTask | None = None
    """Who does it, if another code base does: then the handler returns the arguments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundStep:
    """A step of one run, as ``plan()`` yields it: with its input, its name and its place."""

    step: "Step[Any, Any]"
    value: Any = NO_VALUE
    name: str = ""
    """Empty: the declared one."""

    after: "tuple[Step[Any, Any] | BoundStep, ...] | None" = None
    """None: as declared."""


class Step(Generic[S, R]):
    """A step as it was declared; ``self.<step>`` in a handler is its :class:`StepHandle`."""

    arguments: ClassVar = 1
    """How many its handler takes."""

    form: ClassVar = "(self), or (self, value) for an input of its own"

    companion_arguments: ClassVar[tuple[int, ...]] = (1,)
    """How many its condition and its reconcile may take."""

    defined_as: ClassVar[type[StepDefinition]] = StepDefinition
    """What the engine knows it as."""

    def __init__(
        self,
        handler: Callable[..., R],
        after: "Sequence[Step[Any, Any]] | None",
        options: Mapping[str, object],
    ) -> None:
        """Take ``handler``; ``after`` None means: after the step written above."""
        self.place = place_of(handler)
        check_handler(handler, arguments=(self.arguments,), form=self.form, place=self.place)
        self.handler = handler
        self.after = _predecessors(after, self.place)
        self.options = check_options(options, place=self.place)
        self.name = handler.__name__
        self.undo: Undo | None = None
        self.no_compensation_reason: str | None = None
        self.condition_handler: Callable[..., object] | None = None
        self.reconcile_handler: Callable[..., object] | None = None
        self.inputs_handler: Callable[..., object] | None = None
        self._settled = False

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name of the class attribute."""
        if not self._settled:
            self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> StepHandle[R]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | StepHandle[R]:
        """Return the step itself from the class, and what is known of it from an instance."""
        return self if instance is None else StepHandle(instance, self.name, self.handler)

    @overload
    def compensation(
        self, handler: Callable[[S, R | None], None], /
    ) -> Callable[[S, R | None], None]: ...

    @overload
    def compensation(
        self, /, **options: Unpack[CompensationKeywords]
    ) -> Callable[[Callable[[S, R | None], None]], Callable[[S, R | None], None]]: ...

    def compensation(self, handler: Any = None, /, **options: Any) -> Any:
        """Declare how to undo this step; the handler takes the result, or None when it is unknown.

        Returns the handler as it was, so that a unit test can call it.

        Raises:
            SagaDefinitionError: there is one already, or handler or options are wrong.
        """
        if handler is None:
            return lambda undo: self._compensate_with(undo, options)
        return self._compensate_with(handler, options)

    def remote_compensation(
        self, task: str, /, **options: Unpack[RemoteKeywords]
    ) -> Callable[[Callable[[S, R | None], A]], Callable[[S, R | None], A]]:
        """Declare which Celery task of another code base undoes this step.

        The method takes what a compensation takes, and returns the arguments of ``task``, as that of
        :func:`~sagas.remote` does. The step is undone when the task has returned, whatever it returns.

        Raises:
            SagaDefinitionError: there is a compensation already, or method or options are wrong.
        """

        def declare(handler: Callable[[S, R | None], A]) -> Callable[[S, R | None], A]:
            own: dict[str, Any] = {**options}
            refuse_options(own, place=place_of(handler))
            queue = own.pop("queue", None)
            remote_task = RemoteTask.declared(task, queue, own.get("priority"), handler)
            self._compensate_with(handler, own, remote_task)
            return handler

        return declare

    def no_compensation(self, reason: str) -> None:
        """Say that this step needs no undoing, and why.

        Raises:
            SagaDefinitionError: no reason is given, or there is a compensation.
        """
        self._refuse_if_settled("no_compensation")
        if not is_text(reason):
            raise SagaDefinitionError(f"{self.place}: no_compensation() needs a reason in words.")
        if self.undo is not None or self.no_compensation_reason is not None:
            message = f"{self.place}: compensation is decided already; keep one of the two."
            raise SagaDefinitionError(message)
        self.no_compensation_reason = reason

    def condition(self, handler: Callable[[S], bool], /) -> Callable[[S], bool]:
        """Declare whether this step runs: on False it is skipped, and never compensated.

        Raises:
            SagaDefinitionError: there is one already, or the handler's form is wrong.
        """
        self._take_companion("condition", self.condition_handler, handler)
        self.condition_handler = handler
        return handler

    def reconcile(self, handler: Callable[[S], R | None], /) -> Callable[[S], R | None]:
        """Declare how to ask whether it happened: a result says yes, None says no.

        Raises:
            SagaDefinitionError: there is one already, or the handler's form is wrong.
        """
        self._take_companion("reconcile", self.reconcile_handler, handler)
        self.reconcile_handler = handler
        return handler

    def bind(self, *, after: "Sequence[Step[Any, Any] | BoundStep]") -> "BoundStep":
        """Return this step for ``plan()``, at another place than the declared one.

        Raises:
            SagaDefinitionError: ``after`` is no list of steps.
        """
        return BoundStep(step=self, after=places_of(after, self.place))

    def belongs_to(self, saga: type) -> bool:
        """Whether it is a step of this class or of a base; one that was overridden counts by its name."""
        return any(vars(base).get(self.name) is self for base in saga.__mro__)

    def settle(self) -> None:
        """Refuse any change from now on: the step belongs to a saga."""
        self._settled = True

    def _compensate_with(
        self,
        handler: Callable[..., object],
        options: Mapping[str, object],
        task: RemoteTask | None = None,
    ) -> Callable[..., object]:
        self._refuse_if_settled("compensation")
        place = place_of(handler)
        if self.undo is not None or self.no_compensation_reason is not None:
            message = f"{place}: step {self.name!r} has its compensation decided already; keep one."
            raise SagaDefinitionError(message)
        self._refuse_own_name(handler, place)
        check_handler(handler, arguments=(2,), form="(self, result)", place=place)
        checked = check_options(options, place=place, rules=COMPENSATION_RULES)
        self.undo = Undo(handler=handler, options=checked, task=task)
        return handler

    def _take_companion(
        self, kind: str, existing: object | None, handler: Callable[..., object]
    ) -> None:
        self._refuse_if_settled(kind)
        place = place_of(handler)
        if existing is not None:
            raise SagaDefinitionError(
                f"{place}: step {self.name!r} has a {kind} already; keep one."
            )
        self._refuse_own_name(handler, place)
        allowed = (1,) if kind == "inputs" else self.companion_arguments
        check_handler(handler, arguments=allowed, place=place)

    def _refuse_own_name(self, handler: Callable[..., object], place: str) -> None:
        if handler.__name__ == self.handler.__name__:
            message = f"{place}: this would replace the step of the same name; name it otherwise."
            raise SagaDefinitionError(message)

    def _refuse_if_settled(self, what: str) -> None:
        if self._settled:
            message = (
                f"{self.place}: {what} is declared too late; the step belongs to its saga."
                " Declare it in the body of that class, or declare the step anew in the subclass."
            )
            raise SagaDefinitionError(message)


def places_of(
    after: "Sequence[Step[Any, Any] | BoundStep]", place: str
) -> "tuple[Step[Any, Any] | BoundStep, ...]":
    """Return what ``bind()`` was told of the place of a step.

    Raises:
        SagaDefinitionError: it is no list of steps.
    """
    is_list = isinstance(after, list | tuple)
    if not is_list or not all(isinstance(each, Step | BoundStep) for each in after):
        message = f"{place}: after= of bind() is a list of steps, or of bound ones, not {after!r}."
        raise SagaDefinitionError(message)
    return tuple(after)


def _predecessors(
    after: Sequence[Step[Any, Any]] | None, place: str
) -> tuple[Step[Any, Any], ...] | None:
    if after is None:
        return None
    if not isinstance(after, list | tuple):
        message = f"{place}: after must be a list of steps, as after=[reserve], not {after!r}."
        raise SagaDefinitionError(message)
    for predecessor in after:
        if not isinstance(predecessor, Step):
            message = (
                f"{place}: after takes steps that are declared above, not {predecessor!r};"
                " write their names without quotes."
            )
            raise SagaDefinitionError(message)
    return tuple(after)
