"""A step whose method takes one argument besides ``self``: its own input, apart from the saga's."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from sagas.definitions.context import InputStepHandle, SagaContext
from sagas.definitions.step import BoundStep, Step, places_of


S = TypeVar("S", bound=SagaContext[Any])
A = TypeVar("A")
R = TypeVar("R")


class InputStep(Step[S, R], Generic[S, A, R]):
    """A step with an input of type ``A``, which ``.inputs`` yields, or ``plan()`` binds."""

    arguments: ClassVar = 2
    companion_arguments: ClassVar[tuple[int, ...]] = (1, 2)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> InputStepHandle[A, R]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | InputStepHandle[A, R]:
        """Return the step itself from the class, and what is known of it from an instance."""
        return self if instance is None else InputStepHandle(instance, self.name, self.handler)

    def inputs(self, handler: Callable[[S], A], /) -> Callable[[S], A]:
        """Declare what this step is given. It is asked before the first attempt, and kept.

        Raises:
            SagaDefinitionError: there is one already, or the handler's form is wrong.
        """
        self._take_companion("inputs", self.inputs_handler, handler)
        self.inputs_handler = handler
        return handler

    def bind(  # type: ignore[override]  # it takes the input
        self,
        value: A,
        /,
        *,
        name: str = "",
        after: Sequence[Step[Any, Any] | BoundStep] | None = None,
    ) -> BoundStep:
        """Return this step for ``plan()``, with its input.

        ``name`` tells repetitions apart: ``name=f"ship_line[{line.sku}]"``. ``after`` are its predecessors,
        if not the declared ones.

        Raises:
            SagaDefinitionError: ``after`` is no list of steps.
        """
        places = None if after is None else places_of(after, self.place)
        return BoundStep(step=self, value=value, name=name, after=places)

    @overload
    def condition(self, handler: Callable[[S], bool], /) -> Callable[[S], bool]: ...

    @overload
    def condition(self, handler: Callable[[S, A], bool], /) -> Callable[[S, A], bool]: ...

    def condition(self, handler: Any, /) -> Any:
        """Declare whether this step runs, as :meth:`Step.condition`; it may take the step's input."""
        return super().condition(handler)

    @overload
    def reconcile(self, handler: Callable[[S], R | None], /) -> Callable[[S], R | None]: ...

    @overload
    def reconcile(self, handler: Callable[[S, A], R | None], /) -> Callable[[S, A], R | None]: ...

    def reconcile(self, handler: Any, /) -> Any:
        """Declare how to ask whether it happened, as :meth:`Step.reconcile`; it may take the input."""
        return super().reconcile(handler)
