"""What a run is inserted by: planned once for all runs of a saga, or for each by its ``plan()``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from sagas.definitions import graph
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
    input: Any = None
    """As JSON data, where ``plan()`` gives it."""

    @property
    def plan(self) -> StepPlan:
        """What ``options`` say, as its row reads them."""
        return StepPlan.from_snapshot(self.options)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What is the same in all runs that are inserted by it."""

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


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One step of a plan, before its successors are known."""

    name: str
    definition: StepDefinition
    after: Sequence[str]
    """The names of its predecessors."""

    saga: str = ""
    """The label of the saga that declares it, if that is not the run's."""

    input: Any = None
    """As JSON data, if it is ``bound``."""

    bound: bool = False


def planned_steps(rows: Sequence[PlanRow], *, in_place: bool) -> list[PlannedStep]:
    """Plan the steps of a saga; ``in_place``: it wants its next step run by the same message."""
    places = {row.name: place for place, row in enumerate(rows)}
    successors = graph.successors({row.name: row.after for row in rows})
    snapshots: dict[Any, Mapping[str, Any]] = {}
    planned = []
    for row in rows:
        step, name = row.definition, row.definition.name
        following = [places[name] for name in successors[row.name]]
        awaited = [place for place in following if rows[place].definition.wait]
        last = bool(following) and not awaited
        # Repetitions of one step have one snapshot.
        alike = (name, row.saga, row.name == name, row.bound, last)
        if alike not in snapshots:
            snapshots[alike] = _plan_of(row, last=last).snapshot()
        planned.append(
            PlannedStep(
                name=row.name,
                handler=step.name,
                compensation=step.compensation.name if step.compensation else "",
                pending_predecessors=len(row.after),
                successors=following,
                in_place=in_place
                and len(awaited) == 1
                and step.options.may_carry_on_to(rows[awaited[0]].definition.options),
                pivot=step.pivot,
                critical=step.critical,
                detached=not step.wait,
                options=snapshots[alike],
                timeout=_duration(step.options.timeout),
                input=row.input,
            )
        )
    return planned


def _plan_of(row: PlanRow, *, last: bool) -> StepPlan:
    step = row.definition
    named: dict[str, Any] = {
        "declared": "" if row.name == step.name else step.name,
        "saga": row.saga,
    }
    undo, child = step.compensation, "" if step.child is None else step.child.definition.label
    return StepPlan(
        **step.options.stored(),
        owner=step.owner,
        atomic=step.atomic,
        compensable_until=step.compensable_until,
        # It stands behind a pivot.
        forward_only=undo is None and step.no_compensation_reason is None and not step.pivot,
        last=last,
        child=child,
        reconcile=step.reconcile is not None,
        computes_input=step.inputs is not None and not row.bound,
        compensation=None
        if undo is None
        else _plan_of_undo(undo, step.owner, {**named, "child": child}),
        compensation_timeout=None if undo is None else undo.options.timeout,
        bound=row.bound,
        **named,
    )


def _plan_of_undo(
    undo: CompensationDefinition, owner: str, named: Mapping[str, Any]
) -> Mapping[str, Any]:
    said = {**undo.options.stored(), **named}
    return StepPlan(**said, atomic=undo.atomic, owner=undo.owner or owner).snapshot()


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
