"""Which steps a run would have: asked before it is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from sagas.definitions import Plan, PlannedStep, Saga
from sagas.engine.start import plan_of


InputT = TypeVar("InputT")


@dataclass(frozen=True, kw_only=True)
class PreviewedStep:
    """One step that a run would have."""

    name: str
    """Of its row; of a repetition, such as ``ship_line[sku-7]``."""

    handler: str
    """The method that will be called."""

    saga: str
    """The label of the saga that declares it: of another one, where the plan takes its steps in."""

    after: tuple[str, ...]
    """The names of the steps that it waits for."""

    input: Any
    """What ``plan()`` gives it, as it would be stored; None where it gives nothing."""


@overload
def preview_plan(saga: type[Saga[InputT]], input: InputT) -> list[PreviewedStep]: ...
@overload
def preview_plan(saga: str, input: Mapping[str, object]) -> list[PreviewedStep]: ...
def preview_plan(
    saga: type[Saga[Any]] | str,
    input: Any,  # noqa: A002 the word of the contract
) -> list[PreviewedStep]:
    """Return the steps that ``start_saga(saga, input)`` would plan, in order. Starts and writes nothing.

    ``saga`` and ``input`` are as :func:`~sagas.start_saga` takes them.

    Raises:
        UnknownSaga: no saga has this label.
        SagaDefinitionError: the saga is declared wrongly; as a ``PlanError``, its plan for this input.
        PayloadError: the input does not fit its type.
    """
    plan = plan_of(saga, input)
    after: list[list[str]] = [[] for _ in plan.steps]
    for step in plan.steps:
        for place in step.successors:
            after[place].append(step.name)
    return [_previewed(plan, step, before) for step, before in zip(plan.steps, after, strict=True)]


def _previewed(plan: Plan, step: PlannedStep, before: list[str]) -> PreviewedStep:
    return PreviewedStep(
        name=step.name,
        handler=step.handler,
        saga=step.plan.saga or plan.label,
        after=tuple(before),
        input=step.input,
    )
