"""Let a handler fail, for as long as a block runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import wraps
from typing import Any

from sagas.definitions import Saga, SagaDefinition, Step, StepDefinition
from sagas.exceptions import PermanentError, UnknownHandler


Handler = Callable[..., Any]


@dataclass
class Failure:
    """A failure that was placed, and what became of it."""

    error: Exception | type[Exception]
    after_effect: bool = False
    limit: int | None = None
    times: int = 0
    """How often it struck."""

    def instead_of(self, handler: Handler) -> Handler:
        """Return what is called in place of the handler."""

        @wraps(handler)
        def failing(*args: Any) -> Any:
            if self.limit is not None and self.times >= self.limit:
                return handler(*args)
            if self.after_effect:
                handler(*args)
            self.times += 1
            raise self.error

        return failing


@contextmanager
def fail_at(
    saga: type[Saga[Any]],
    step: str | Step[Any, Any] | Handler,
    *,
    error: Exception | type[Exception] | None = None,
    after_effect: bool = False,
    times: int | None = None,
) -> Iterator[Failure]:
    """Let a step, a compensation or a reconcile of ``saga`` fail in this process, within the block.

    ``step`` is its name, or what the class body has under that name. ``error`` is raised instead of
    calling the handler, or with ``after_effect`` when it has returned; without one, a definite
    failure (``PermanentError``). It strikes every attempt, or the first ``times`` of them::

        with fail_at(FulfilOrder, "process_payment") as failure:
            run = run_saga(start_saga(FulfilOrder, order))
        assert run.is_compensated
        assert failure.times == 1

    Raises:
        UnknownHandler: the saga has none of this name; the message names those it has.
    """
    name = step if isinstance(step, str) else _name_of(step)
    default = PermanentError(f"a test lets {name} fail", code="FAIL_AT")
    failure = Failure(error=error or default, after_effect=after_effect, limit=times)
    declared = saga.definition
    saga.definition = _rewired(declared, name, failure.instead_of)
    try:
        yield failure
    finally:
        saga.definition = declared


def _name_of(step: Step[Any, Any] | Handler) -> str:
    return step.name if isinstance(step, Step) else step.__name__


def _rewired(
    definition: SagaDefinition, name: str, wrap: Callable[[Handler], Handler]
) -> SagaDefinition:
    steps = tuple(_wrapped(step, name, wrap) for step in definition.steps)
    if steps == definition.steps:
        known = [handler for step in definition.steps for handler in handlers_of(step)]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known)}"
        message = f"{definition.label} has no step, compensation or reconcile {name!r}; {hint}"
        raise UnknownHandler(message, step=name)
    return replace(definition, steps=steps)


def handlers_of(step: StepDefinition) -> list[str]:
    """Return the names under which something of this step can fail."""
    undo = [step.compensation.name] if step.compensation else []
    ask = [step.reconcile.__name__] if step.reconcile else []
    return [step.name, *undo, *ask]


def _wrapped(step: StepDefinition, name: str, wrap: Callable[[Handler], Handler]) -> StepDefinition:
    if step.name == name:
        return replace(step, handler=wrap(step.handler))
    undo, ask = step.compensation, step.reconcile
    if undo is not None and undo.name == name:
        return replace(step, compensation=replace(undo, handler=wrap(undo.handler)))
    if ask is not None and ask.__name__ == name:
        return replace(step, reconcile=wrap(ask))
    return step
