"""What all runs of a saga have in common is planned once."""

from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sagas import decisions
from sagas.definitions import SagaDefinition, StepDefinition
from sagas.transitions import Plan, PlannedStep


_plans: "WeakKeyDictionary[SagaDefinition, Plan]" = WeakKeyDictionary()


def plan_of(definition: SagaDefinition) -> Plan:
    """Return the plan that the runs of a saga are inserted by; the same for all of them."""
    found = _plans.get(definition)
    if found is None:
        found = _plans[definition] = _plan(definition)
    return found


def _plan(definition: SagaDefinition) -> Plan:
    places = {step.name: place for place, step in enumerate(definition.steps)}
    followers = definition.successors()
    return Plan(
        label=definition.label,
        version=definition.version,
        options={
            "on_compensation_failure": definition.on_compensation_failure,
            "auto_retry": definition.auto_retry,
            "in_place": definition.in_place,
        },
        timeout=definition.timeout,
        steps=[
            PlannedStep(
                name=step.name,
                compensation=step.compensation.name if step.compensation else "",
                blockers=len(step.after),
                successors=[places[name] for name in followers[step.name]],
                in_place=_goes_on(definition, step, followers[step.name]),
                pivot=step.pivot,
                critical=step.critical,
                options=_options(step),
                timeout=_duration(step.options.timeout),
            )
            for step in definition.steps
        ],
    )


def _goes_on(definition: SagaDefinition, step: StepDefinition, following: tuple[str, ...]) -> bool:
    if not definition.in_place or len(following) != 1:
        return False
    return decisions.may_go_on(step.options, definition.step(following[0]).options)


def _options(step: StepDefinition) -> dict[str, Any]:
    options = step.options.snapshot()
    compensation = step.compensation
    if step.owner:
        options["owner"] = step.owner
    if step.atomic:
        options["atomic"] = True
    if step.compensable_until is not None:
        options["compensable_until"] = step.compensable_until
    if compensation is None and step.no_compensation_reason is None and not step.pivot:
        options["forward_only"] = True  # it stands behind a pivot
    if step.reconcile is not None:
        options["reconcile"] = True
    if compensation is not None:
        options["compensation"] = compensation.options.snapshot()
        if compensation.atomic:
            options["compensation"]["atomic"] = True
        if owner := compensation.owner or step.owner:
            options["compensation"]["owner"] = owner
    return options


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
