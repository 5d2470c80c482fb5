"""``@child(OtherSaga)``: a step that is a saga of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack, cast, overload

from sagas.definitions.child_run import ChildRun
from sagas.definitions.context import ChildStepHandle, SagaContext
from sagas.definitions.step import Step, StepKeywords
from sagas.exceptions import SagaDefinitionError


S = TypeVar("S", bound=SagaContext[Any])
I = TypeVar("I")  # noqa: E741 the type of the child's input


class ChildStep(Step[S, ChildRun], Generic[S, I]):
    """A step that runs another saga; its method returns that saga's input.

    It is undone by turning the child back, so it takes no compensation; ``no_compensation`` says
    that a child which is completed stays so.
    """

    form: ClassVar = "(self), and returns the input of the child"

    def __init__(
        self,
        saga: type[SagaContext[I]],
        handler: Callable[..., I],
        after: Sequence[Step[Any, Any]] | None,
        options: Mapping[str, object],
    ) -> None:
        """Take the child's class besides what a step takes."""
        super().__init__(cast("Callable[..., Any]", handler), after, options)
        if not hasattr(saga, "definition"):
            message = (
                f"{self.place}: @child takes the class of a saga, as @child(Ship), not {saga!r}."
            )
            raise SagaDefinitionError(message)
        if options.get("atomic"):
            message = f"{self.place}: a child runs in transactions of its own; remove atomic=True."
            raise SagaDefinitionError(message)
        self.saga = saga

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> ChildStepHandle[I]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | ChildStepHandle[I]:
        """Return the step itself from the class, and what is known of it from an instance."""
        return self if instance is None else ChildStepHandle(instance, self.name, self.handler)

    def _refuse_if_settled(self, what: str) -> None:
        super()._refuse_if_settled(what)
        cure = _NEEDLESS.get(what)
        if cure:
            raise SagaDefinitionError(f"{self.place}: {cure}; remove the {what}.")


_NEEDLESS = {
    "compensation": "a child is undone by turning it back, so by the compensations of its own steps",
    "reconcile": "a child is a row, and what became of it is never in doubt",
}


def child(
    saga: type[SagaContext[I]],
    /,
    *,
    after: Sequence[Step[Any, Any]] | None = None,
    **options: Unpack[StepKeywords],
) -> Callable[[Callable[[S], I]], ChildStep[S, I]]:
    """Make a method that returns the input of ``saga`` a step which runs that saga, and waits for it.

    The step succeeds when the child is completed, with a
    :class:`~sagas.definitions.ChildRun`; it fails, definitely, when the child was compensated or
    cancelled. Undoing it turns the child back. ``wait=False``: the child is started and goes its
    own way, whatever becomes of this saga. The other options are those of ``@step``, but for
    ``atomic``; ``timeout`` is that of the child too, which is then cancelled.

    Raises:
        SagaDefinitionError: what ``@step`` raises, or ``saga`` is not the class of a saga.
    """
    return lambda method: ChildStep(saga, method, after, cast("Mapping[str, object]", options))
