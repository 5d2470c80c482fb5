"""``@remote``: a step that a Celery task of another code base does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from sagas.definitions.context import RemoteStepHandle, SagaContext
from sagas.definitions.handler_form import check_handler, place_of
from sagas.definitions.input_step import InputStep
from sagas.definitions.options import RemoteKeywords
from sagas.definitions.remote_task import RemoteTask, asking, refuse_options
from sagas.definitions.step import PlaceKeywords, Step
from sagas.exceptions import SagaDefinitionError


S = TypeVar("S", bound=SagaContext[Any])
A = TypeVar("A")
R = TypeVar("R")


class RemoteStepKeywords(RemoteKeywords, PlaceKeywords, total=False):
    """What ``@remote(...)`` takes besides the task, ``result`` and ``after``."""


class RemoteMaker(Generic[R]):
    """What ``@remote(...)`` is: it takes the method that returns the arguments."""

    def __init__(
        self,
        task: str,
        result: Any,
        after: Sequence[Step[Any, Any]] | None,
        options: Mapping[str, Any],
    ) -> None:
        """Keep what was declared."""
        self._task = task
        self._result = result
        self._after = after
        self._options = options

    def __call__(self, method: Callable[[S], A], /) -> "RemoteStep[S, A, R]":
        """Make the step."""
        return RemoteStep(method, self._task, self._result, self._after, self._options)


class RemoteStep(InputStep[S, A, R], Generic[S, A, R]):
    """A step whose method returns the arguments, of type ``A``, of a task that returns an ``R``."""

    def __init__(
        self,
        method: Callable[[S], A],
        task: str,
        result: Any,
        after: Sequence[Step[Any, Any]] | None,
        options: Mapping[str, Any],
    ) -> None:
        """Take the method and what ``@remote(...)`` was given."""
        place = place_of(method)
        check_handler(method, arguments=(1,), place=place)
        refuse_options(options, place=place)
        own = dict(options)
        queue, priority = own.pop("queue", None), own.get("priority")
        remote_task = RemoteTask.declared(task, queue, priority, method)
        super().__init__(asking(remote_task, result), after, own)
        self.inputs_handler = method
        self.remote_task = remote_task
        self._method = method

    @overload  # type: ignore[override]  # called in a unit test, it returns the arguments
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> RemoteStepHandle[A, R]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | RemoteStepHandle[A, R]:
        """Return the step itself from the class, and what is known of it from an instance."""
        return self if instance is None else RemoteStepHandle(instance, self.name, self._method)

    def inputs(self, handler: Callable[[S], A], /) -> Callable[[S], A]:
        """Refuse: the method of a remote step returns its arguments itself.

        Raises:
            SagaDefinitionError: always.
        """
        message = (
            f"{place_of(handler)}: {self.name} returns the arguments itself; take .inputs away."
        )
        raise SagaDefinitionError(message)


@overload
def remote(
    task: str,
    /,
    *,
    result: None = None,
    after: Sequence[Step[Any, Any]] | None = None,
    **options: Unpack[RemoteStepKeywords],
) -> RemoteMaker[None]: ...


@overload
def remote(
    task: str,
    /,
    *,
    result: type[R],
    after: Sequence[Step[Any, Any]] | None = None,
    **options: Unpack[RemoteStepKeywords],
) -> RemoteMaker[R]: ...


@overload
def remote(
    task: str,
    /,
    *,
    result: object,
    after: Sequence[Step[Any, Any]] | None = None,
    **options: Unpack[RemoteStepKeywords],
) -> RemoteMaker[Any]: ...


def remote(
    task: str,
    /,
    *,
    result: Any = None,
    after: Sequence[Step[Any, Any]] | None = None,
    **options: Any,
) -> RemoteMaker[Any]:
    """Make a step of a Celery task in another code base, which has neither this package nor its tables.

    The method returns the arguments of ``task``: a dict, TypedDict, dataclass or model by name, a list
    or tuple by position. They are asked for once, kept, and sent to ``queue`` as JSON. ``result`` is
    the type of what the task returns, a dataclass for example; without one that is not kept. Options
    are those of :func:`~sagas.step`; ``time_limit`` is how long the answer may take, and
    ``priority`` that of the message to the task. Told in ``docs/remote.md``.

    Raises:
        SagaDefinitionError: no queue, an option that means nothing for a remote task, a wrong value,
            or a handler that is no plain method taking ``self`` alone.
    """
    return RemoteMaker(task, result, after, options)
