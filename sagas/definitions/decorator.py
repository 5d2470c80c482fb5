"""``@step``: a method of a saga becomes one of its steps."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, Unpack, overload

from sagas.definitions.context import SagaContext
from sagas.definitions.handler_form import takes_value
from sagas.definitions.input_step import InputStep
from sagas.definitions.step import Step, StepKeywords


S = TypeVar("S", bound=SagaContext[Any])
A = TypeVar("A")
R = TypeVar("R")


class StepMaker(Protocol):
    """What ``@step(...)`` with options is: it takes the method."""

    @overload
    def __call__(self, handler: Callable[[S], R], /) -> Step[S, R]: ...

    @overload
    def __call__(self, handler: Callable[[S, A], R], /) -> InputStep[S, A, R]: ...


@overload
def step(handler: Callable[[S], R], /) -> Step[S, R]: ...


@overload
def step(handler: Callable[[S, A], R], /) -> InputStep[S, A, R]: ...


@overload
def step(
    *, after: Sequence[Step[Any, Any]] | None = None, **options: Unpack[StepKeywords]
) -> StepMaker: ...


def step(
    handler: Any = None, /, *, after: Sequence[Step[Any, Any]] | None = None, **options: Any
) -> Any:
    """Make a method of a saga one of its steps, bare or with options.

    ``after`` names the steps it waits for: none given, the one written above; ``[]``, none.
    The return annotation is the type of the result, which is stored. A method that takes one argument
    besides ``self`` is given its own input: by ``@<step>.inputs``, or by ``plan()``.

    Raises:
        SagaDefinitionError: an unknown option, a wrong value, or a handler that is no plain
            method taking ``self``, and one argument at most.
    """

    def make(method: Any) -> Step[Any, Any]:
        kind: type[Step[Any, Any]] = InputStep if takes_value(method) else Step
        return kind(method, after, options)

    return make if handler is None else make(handler)
