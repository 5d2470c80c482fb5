"""From a class body to its steps: order, inheritance, defaults."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any

from sagas.definitions.child_step import ChildStep
from sagas.definitions.child_undo import undo_of_child, without_undone_behind_pivots
from sagas.definitions.handler_form import check_handler
from sagas.definitions.input_step import InputStep
from sagas.definitions.options import COMPENSATION_DEFAULTS, StepOptions
from sagas.definitions.remote_step import RemoteStep
from sagas.definitions.remote_task import asking_to_undo, without_refused
from sagas.definitions.rules import MAX_NAME_LENGTH
from sagas.definitions.step import Step
from sagas.definitions.step_definition import CompensationDefinition, StepDefinition
from sagas.exceptions import SagaDefinitionError


AnyStep = Step[Any, Any]


def collect_steps(
    saga: type, defaults: Mapping[str, object], reserved: frozenset[str]
) -> tuple[StepDefinition, ...]:
    """Return the steps of a saga class in declared order, inherited ones first.

    ``defaults`` are ``Meta.step_defaults``; ``reserved`` the names that a step cannot have.

    Raises:
        SagaDefinitionError: a name or an ``after`` is wrong; it names saga, step and cure.
    """
    steps = {name: _current(saga, name) for name in _names(saga)}
    for name, step in steps.items():
        _check_name(saga, name, step, reserved)
        step.settle()
    defined: list[StepDefinition] = []
    for step in steps.values():
        defined.append(_define(saga, step, _after(saga, step, defined[-1:]), defaults))
    _check_former_names(saga, defined)
    _refuse_after_unawaited(saga, defined)
    return tuple(without_undone_behind_pivots(defined))


def _names(saga: type) -> dict[str, None]:
    """Return the step names of a class: those of its bases, then its own. An override keeps its place."""
    names: dict[str, None] = {}
    for base in saga.__bases__:
        names |= _names(base)
    return names | {name: None for name, value in vars(saga).items() if isinstance(value, Step)}


def _current(saga: type, name: str) -> AnyStep:
    found = inspect.getattr_static(saga, name)
    if not isinstance(found, Step):
        message = f"{saga.__name__}.{name} replaces an inherited step; decorate it with @step."
        raise SagaDefinitionError(message)
    return found


def _check_name(saga: type, name: str, step: AnyStep, reserved: frozenset[str]) -> None:
    place = f"{saga.__name__}.{name}"
    if name in reserved or name.startswith("_"):
        message = f"{place}: a step cannot have this name; {name!r} is taken or private. Rename it."
        raise SagaDefinitionError(message)
    if not name.isascii() or len(name) > MAX_NAME_LENGTH:
        message = f"{place}: a step's name is ASCII of at most {MAX_NAME_LENGTH} characters."
        raise SagaDefinitionError(message)
    if step.name != name:
        message = f"{place} is {step.place}, which has a name already; a step has one name."
        raise SagaDefinitionError(message)
    if step.options.get("pivot") and step.options.get("critical") is False:
        message = f"{place}: a pivot is critical; remove pivot=True or critical=False."
        raise SagaDefinitionError(message)


def _check_former_names(saga: type, steps: Sequence[StepDefinition]) -> None:
    """A former name finds one step, or a row could not say which of them it is."""
    taken = {step.name: f"is what step {step.name} is called now" for step in steps}
    for step in steps:
        for name in step.formerly:
            if name in taken:
                message = (
                    f"{saga.__name__}.{step.name}: formerly names {name!r}, which {taken[name]};"
                    " a name of old rows must lead to one step. Take it out, or rename the other."
                )
                raise SagaDefinitionError(message)
            taken[name] = f"step {step.name} was called too"


def _after(saga: type, step: AnyStep, written_above: Sequence[StepDefinition]) -> tuple[str, ...]:
    if step.after is None:
        # What follows one for which nobody waits, follows what that follows.
        return tuple(
            name
            for above in written_above
            for name in ((above.name,) if above.wait else above.after)
        )
    for predecessor in step.after:
        if not predecessor.belongs_to(saga):
            message = (
                f"{saga.__name__}.{step.name}: after names {predecessor.place},"
                " which is not a step of this saga; name its own or inherited steps."
            )
            raise SagaDefinitionError(message)
    return tuple(dict.fromkeys(predecessor.name for predecessor in step.after))


def _refuse_after_unawaited(saga: type, steps: Sequence[StepDefinition]) -> None:
    unawaited = {step.name for step in steps if not step.wait}
    for step in steps:
        for name in unawaited.intersection(step.after):
            message = (
                f"{saga.__name__}.{step.name}: after names {name}, for which nobody waits"
                f" (wait=False), so nothing can come after it. Remove wait=False from {name}, or"
                f" name what {name} comes after."
            )
            raise SagaDefinitionError(message)


def _define(
    saga: type, step: AnyStep, after: tuple[str, ...], defaults: Mapping[str, object]
) -> StepDefinition:
    place = f"{saga.__name__}.{step.name}"
    if isinstance(step, RemoteStep):
        defaults = without_refused(defaults)
    layers = (defaults, step.options)
    chosen: dict[str, Any] = {**defaults, **step.options}
    critical = chosen.get("critical", True) or chosen.get("pivot", False)
    # A child is started in any case, and the step waits for that.
    wait = chosen.get("wait", True) or isinstance(step, ChildStep)
    if critical and not wait:
        message = (
            f"{place}: a saga cannot fail with a step for which it does not wait; add"
            " critical=False, or remove wait=False."
        )
        raise SagaDefinitionError(message)
    return step.defined_as(
        name=step.name,
        place=place,
        handler=step.handler,
        after=after,
        follows_above=step.after is None,
        options=StepOptions.merged(*layers, place=place),
        pivot=chosen.get("pivot", False),
        critical=critical,
        wait=wait,
        atomic=chosen.get("atomic", False),
        owner=chosen.get("owner", ""),
        **_undoing(saga, step),
        compensable_until=chosen.get("compensable_until"),
        formerly=_names_of(chosen.get("formerly", ())),
        condition=_companion(saga, step.condition_handler, step.companion_arguments),
        reconcile=_companion(saga, step.reconcile_handler, step.companion_arguments),
        inputs=_companion(saga, step.inputs_handler, (1,)),
        takes_input=isinstance(step, InputStep),
        remote_task=step.remote_task if isinstance(step, RemoteStep) else None,
        child=step.saga if isinstance(step, ChildStep) else None,
        awaits_child=chosen.get("wait", True),
    )


def _names_of(said: str | Sequence[str]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def _undoing(saga: type, step: AnyStep) -> dict[str, Any]:
    reason = step.no_compensation_reason
    if not isinstance(step, ChildStep):
        return {"compensation": _compensation(saga, step), "no_compensation_reason": reason}
    if not step.options.get("wait", True):
        reason = reason or "the child goes its own way"
    undo = undo_of_child(step.name) if reason is None else None
    return {"compensation": undo, "no_compensation_reason": reason}


def _compensation(saga: type, step: AnyStep) -> CompensationDefinition | None:
    if step.undo is None:
        return None
    handler = _companion(saga, step.undo.handler, (2,), form="(self, result)")
    task = step.undo.task and replace(step.undo.task, method=handler)
    chosen: dict[str, Any] = dict(step.undo.options)
    place = f"{saga.__name__}.{handler.__name__}"
    return CompensationDefinition(
        name=handler.__name__,
        handler=asking_to_undo(task) if task else handler,
        options=StepOptions.merged(COMPENSATION_DEFAULTS, chosen, place=place),
        atomic=chosen.get("atomic", False),
        owner=chosen.get("owner", ""),
        remote_task=task,
    )


def _companion(
    saga: type, declared: Any, arguments: tuple[int, ...], *, form: str = "(self)"
) -> Any:
    """Return the method as this class has it: a subclass may override it as any other method."""
    if declared is None:
        return None
    name = declared.__name__
    if not any(vars(base).get(name) is declared for base in saga.__mro__):
        return declared
    current: Callable[..., object] = inspect.getattr_static(saga, name)
    if isinstance(current, FunctionType) and current is not declared:
        check_handler(current, arguments=arguments, form=form, place=f"{saga.__name__}.{name}")
        return current
    return declared
