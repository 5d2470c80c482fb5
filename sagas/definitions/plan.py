"""What all runs of a saga have in common, planned once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from sagas.definitions.options import StepPlan
from sagas.definitions.step_definition import CompensationDefinition, StepDefinition


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What the row of a forward step is in every run of a saga."""

    name: str
    handler: str
    """The declared step that it runs."""
    compensation: str
    pending_predecessors: int
    successors: Sequence[int]
    """Their places in the plan."""
    in_place: bool
    pivot: bool
    critical: bool
    detached: bool
    options: Mapping[str, Any]
    timeout: timedelta | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What is the same in all runs of a saga."""

    label: str
    version: int
    options: Mapping[str, Any]
    timeout: timedelta
    steps: Sequence[PlannedStep]

    @cached_property
    def remaining(self) -> int:
        """How many steps are the last of their branch, without those for which nobody waits."""
        return sum(
            not step.detached and all(self.steps[place].detached for place in step.successors)
            for step in self.steps
        )

    @cached_property
    def first(self) -> Sequence[tuple[int, PlannedStep]]:
        """The steps that wait for no other, with their places."""
        return [
            (place, step) for place, step in enumerate(self.steps) if step.pending_predecessors == 0
        ]


def planned_steps(
    steps: Sequence[StepDefinition],
    successors: Mapping[str, Sequence[str]],
    *,
    in_place: bool,
) -> list[PlannedStep]:
    """Plan the steps of a saga; ``in_place``: it wants its next step run by the same message."""
    places = {step.name: place for place, step in enumerate(steps)}
    planned = []
    for step in steps:
        following = [places[name] for name in successors[step.name]]
        awaited = [place for place in following if steps[place].wait]
        planned.append(
            PlannedStep(
                name=step.name,
                handler=step.name,
                compensation=step.compensation.name if step.compensation else "",
                pending_predecessors=len(step.after),
                successors=following,
                in_place=in_place
                and len(awaited) == 1
                and step.options.may_carry_on_to(steps[awaited[0]].options),
                pivot=step.pivot,
                critical=step.critical,
                detached=not step.wait,
                options=_plan_of(step, last=bool(following) and not awaited).snapshot(),
                timeout=_duration(step.options.timeout),
            )
        )
    return planned


def _plan_of(step: StepDefinition, *, last: bool) -> StepPlan:
    undo = step.compensation
    return StepPlan(
        **step.options.stored(),
        owner=step.owner,
        atomic=step.atomic,
        compensable_until=step.compensable_until,
        # It stands behind a pivot.
        forward_only=undo is None and step.no_compensation_reason is None and not step.pivot,
        last=last,
        reconcile=step.reconcile is not None,
        computes_input=step.inputs is not None,
        compensation=None if undo is None else _plan_of_undo(undo, step.owner).snapshot(),
        compensation_timeout=None if undo is None else undo.options.timeout,
    )


def _plan_of_undo(undo: CompensationDefinition, owner: str) -> StepPlan:
    return StepPlan(**undo.options.stored(), atomic=undo.atomic, owner=undo.owner or owner)


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
