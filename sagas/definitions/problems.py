"""What is wrong with a saga that only shows when it is seen whole."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sagas.definitions import graph
from sagas.definitions.annotations import (
    MISSING,
    accepts,
    parameter_annotation,
    result_annotation,
)
from sagas.definitions.declaration_errors import raises
from sagas.definitions.options import StepOptions
from sagas.definitions.step_definition import CompensationDefinition, StepDefinition
from sagas.exceptions import SagaDefinitionError, Wait
from sagas.payloads import annotation_name


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong. ``manage.py check`` shows it; ``start_saga()`` refuses errors."""

    id: str
    message: str
    """Names saga and step."""

    hint: str
    """The cure."""

    is_error: bool = True


def step_problems(
    label: str, steps: tuple[StepDefinition, ...], *, plans: bool
) -> Iterator[Problem]:
    """Yield what is wrong with the steps, each alone and all together.

    ``plans``: the saga has a ``plan()``, which may give a step its input and take in other sagas' steps.
    """
    if not steps and not plans:
        yield Problem(
            id="sagas.E008",
            message=f"{label} has no steps.",
            hint="Decorate a method with @step, or set abstract = True in Meta.",
        )
    elif steps and not any(step.wait for step in steps):
        yield Problem(
            id="sagas.E008",
            message=f"{label} waits for none of its steps, so it would be completed at once.",
            hint="Remove wait=False from one of them.",
        )
    predecessors = {step.name: step.after for step in steps}
    circle = graph.cycle(predecessors)
    if circle:
        yield Problem(
            id="sagas.E003",
            message=f"{label}: these steps wait for each other: {' -> '.join(circle)}.",
            hint="Take one of them out of the after= of the next.",
        )
    else:
        named = {step.name: step for step in steps}
        yield from pivot_problems(label, named, predecessors)
        yield from _compensable_problems(label, steps, graph.ancestors(predecessors))
    for step in steps:
        yield from unstorable(label, lambda step=step: step.result_codec)  # type: ignore[misc]
        yield from _input_problems(label, step, plans=plans)
        yield from _compensation_mismatch(label, step)
        yield from _ambiguous_reconcile(label, step)
        yield from _wait_in_atomic_step(label, step)


def _input_problems(label: str, step: StepDefinition, *, plans: bool) -> Iterator[Problem]:
    if step.compensation is not None and step.compensation.remote_task is not None:
        undo_task = step.compensation.remote_task
        yield from unstorable(label, lambda: undo_task.codec)
    if step.remote_task is not None:
        task = step.remote_task
        yield from unstorable(label, lambda: task.codec)
        return
    if not step.takes_input:
        return
    yield from unstorable(label, lambda: step.input_codec)
    if step.inputs is None and not plans:
        yield Problem(
            id="sagas.E025",
            message=f"{label}: {step.name} takes an input, and nothing says which.",
            hint=f"Add @{step.name}.inputs, a method that returns it, or bind it in plan().",
        )


def unstorable(label: str, codec: Callable[[], object]) -> Iterator[Problem]:
    """Yield a problem if the codec of an input or a result cannot be made."""
    try:
        codec()
    except SagaDefinitionError as error:
        yield Problem(
            id="sagas.E006",
            message=f"{label}: {error}",
            hint=(
                "Annotate it with a dataclass, TypedDict, pydantic model or plain type;"
                " for a model instance return its key."
            ),
        )


def pivot_problems(
    label: str, steps: Mapping[str, StepDefinition], predecessors: graph.Predecessors
) -> Iterator[Problem]:
    """Yield what is wrong with the points of no return, and with what stands before and behind them.

    ``steps`` are those of the saga, or of one plan, by their names there.
    """
    behind = graph.passed(predecessors, {name for name, step in steps.items() if step.pivot})
    for name, step in steps.items():
        passed = behind.get(name)
        if step.pivot:
            yield from _untaken_pivot(label, step)
        if step.pivot and passed:
            yield Problem(
                id="sagas.E004",
                message=f"{label}: pivot {name} comes after pivot {passed}.",
                hint="A path has one point of no return: remove pivot=True from one of them.",
            )
        if step.compensation is not None and (step.pivot or passed):
            where = f"comes after pivot {passed}" if passed else "is the pivot"
            yield Problem(
                id="sagas.E005",
                message=f"{label}: {name} {where}, so its compensation never runs.",
                hint=f"Remove {step.compensation.name}, or move the pivot behind {name}.",
            )
        undecided = step.compensation is None and step.no_compensation_reason is None
        if undecided and not step.pivot and not passed:
            yield Problem(
                id="sagas.E010",
                message=f"{label}: {name} says nothing about how it is undone.",
                hint=(
                    f"Add @{step.name}.compensation,"
                    f' or {step.name}.no_compensation("why none is needed") in the class body.'
                ),
            )


def _untaken_pivot(label: str, pivot: StepDefinition) -> Iterator[Problem]:
    """Yield why a saga might go on past its pivot without it, to steps that nothing undoes."""
    if pivot.condition is not None:
        yield Problem(
            id="sagas.E017",
            message=f"{label}: pivot {pivot.name} has a condition, so the saga may go on without it,"
            " to steps that nothing undoes.",
            hint=f"Remove the condition of {pivot.name}: let its handler do nothing when there is"
            " nothing to do, or make another step the pivot.",
        )


def _compensable_problems(
    label: str, steps: Sequence[StepDefinition], ancestors: dict[str, frozenset[str]]
) -> Iterator[Problem]:
    for step in steps:
        until = step.compensable_until
        if until is None:
            continue
        if step.name not in ancestors.get(until, ()):
            later = sorted(name for name, before in ancestors.items() if step.name in before)
            yield Problem(
                id="sagas.E016",
                message=f"{label}: {step.name} is compensable until {until}, which does not come"
                " after it.",
                hint=f"Name a step that waits for it: {', '.join(later) or 'there is none'}.",
            )
        if any(later.name == until and not later.wait for later in steps):
            yield Problem(
                id="sagas.E016",
                message=f"{label}: {step.name} is compensable until {until}, for which nobody waits.",
                hint=f"Remove wait=False from {until}, or name another step.",
            )
        if step.compensation is None:
            yield Problem(
                id="sagas.E016",
                message=f"{label}: {step.name} is compensable until {until}, and has none.",
                hint=f"Add @{step.name}.compensation, or remove compensable_until.",
            )


def limit_exceeds_saga_timeout(
    label: str, steps: Iterable[StepDefinition], seconds: float
) -> Iterator[Problem]:
    """Yield steps that would be allowed to run longer than their saga."""
    for step in steps:
        limit = step.options.time_limit
        declared = {
            "timeout": step.options.timeout,
            # The library's own default is no one's wish.
            "time_limit": limit if limit != StepOptions.time_limit else None,
        }
        for name, value in declared.items():
            if value is not None and value > seconds:
                yield Problem(
                    id="sagas.E013",
                    message=f"{label}: the {name} of {step.name} ({value:g} s) is longer than"
                    f" the whole saga may take ({seconds:g} s).",
                    hint=f"Lower it, or raise Meta.timeout of {label}.",
                )


def _ambiguous_reconcile(label: str, step: StepDefinition) -> Iterator[Problem]:
    if step.reconcile is None:
        return
    try:
        result = result_annotation(step.handler, place=step.place)
    except SagaDefinitionError:
        return
    if result is not MISSING and accepts(result, None):
        yield Problem(
            id="sagas.E012",
            message=f"{label}: {step.name} may return None, which its reconcile"
            " uses to say that it did not happen.",
            hint=f"Let {step.name} return something whenever it happened, such as a receipt.",
        )


def _wait_in_atomic_step(label: str, step: StepDefinition) -> Iterator[Problem]:
    handlers: list[StepDefinition | CompensationDefinition] = [step]
    if step.compensation is not None:
        handlers.append(step.compensation)
    for handler in handlers:
        if handler.atomic and raises(handler.handler, Wait):
            yield Problem(
                id="sagas.E015",
                message=f"{label}: {handler.name} is atomic and raises Wait, which would roll back"
                " what it wrote before it waits.",
                hint="Remove atomic=True, or do the writing in a step of its own.",
            )


def _compensation_mismatch(label: str, step: StepDefinition) -> Iterator[Problem]:
    if step.compensation is None or step.child is not None:
        return
    undo = step.compensation
    try:
        result = result_annotation(step.handler, place=step.place)
        parameter = parameter_annotation(undo.handler, place=f"{label}.{undo.name}")
    except SagaDefinitionError:
        return
    if result is MISSING or parameter is MISSING or accepts(parameter, result):
        return
    wanted = annotation_name(result)
    wanted = wanted if wanted == "None" else f"{wanted} | None"
    yield Problem(
        id="sagas.E007",
        message=(
            f"{label}: {undo.name} takes {annotation_name(parameter)},"
            f" but undoing {step.name} gives it {wanted}."
        ),
        hint=f"Annotate the argument with {wanted}: it is None when the outcome is unknown.",
    )
