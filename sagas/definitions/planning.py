"""``plan(cls, input)``: which steps one run has, and what each of them waits for.

What is yielded becomes one row each, in that order. A step waits for its declared predecessors: for all
repetitions of one that is repeated, and for the predecessors of one that is left out. The steps of
another saga, a group, stand where they are yielded: they wait for what is yielded above them, and
what is yielded below them waits for them, unless it says ``after=``.
"""

from collections.abc import Sequence
from typing import Any

from sagas.definitions import graph
from sagas.definitions.invocation import NO_VALUE
from sagas.definitions.plan import PlanRow
from sagas.definitions.problems import pivot_problems
from sagas.definitions.step import BoundStep, Step
from sagas.definitions.step_definition import StepDefinition
from sagas.definitions.yielded import Declared, Part, Yielded, YieldedRow


MAX_EDGES = 200_000
"""Of one run: how many pairs of a step and a step that waits for it."""


def rows_for(declared: Declared, saga_input: Any) -> list[PlanRow]:
    """Return the steps of a run with this input, as the ``plan()`` of its saga says.

    Raises:
        PlanError: they cannot be a run of it; the message says why.
        PayloadError: an input that is bound is not of the type of its step.
    """
    yielded = Yielded(declared)
    whole = yielded.collect(declared, saga_input)
    if not any(row.definition.wait for row, _ in yielded.order.values()):
        message = "plan() yields no step that is waited for, for this input; yield one, or do not start it"
        raise yielded.error(message)
    _Places(yielded).place(whole, first=())
    _check(yielded)
    return [_planned(declared, row, part) for row, part in yielded.order.values()]


def _planned(run: Declared, row: YieldedRow, part: Part) -> PlanRow:
    value, data = row.bound.value, None
    if value is not NO_VALUE:
        what = f"the input of {row.name} of {run.label}"
        data = row.definition.input_codec.dump(value, what=what)
    return PlanRow(
        name=row.name,
        definition=row.definition,
        after=row.after,
        saga="" if part.declared is run else part.declared.label,
        input=data,
        bound=value is not NO_VALUE,
    )


def _check(yielded: Yielded) -> None:
    """Refuse a circle, and what would stand wrong before or behind a point of no return."""
    predecessors = {name: row.after for name, (row, _) in yielded.order.items()}
    circle = graph.cycle(predecessors)
    if circle:
        waiting = " -> ".join(circle)
        raise yielded.error(f"these steps wait for each other: {waiting}; mend after= in plan()")
    definitions = {name: row.definition for name, (row, _) in yielded.order.items()}
    for problem in pivot_problems(yielded.run.label, definitions, predecessors):
        why = problem.message.removeprefix(f"{yielded.run.label}: ")
        raise yielded.error(f"in the plan for this input {why} {problem.hint}")
    _check_compensable(yielded, predecessors)


def _check_compensable(yielded: Yielded, predecessors: graph.Predecessors) -> None:
    before: dict[tuple[Part, str], set[str]] = {}
    for row, part in yielded.order.values():
        until = row.definition.compensable_until
        if until is None or until not in part.rows:
            continue
        if (part, until) not in before:
            later = [each.name for each in part.rows[until]]
            before[part, until] = graph.before(predecessors, later)
        if row.name not in before[part, until]:
            raise yielded.error(f"{row.name} is compensable until {until}, which is not after it")


class _Places:
    """What the rows of one run wait for."""

    def __init__(self, yielded: Yielded) -> None:
        self._yielded = yielded
        self._edges = 0

    def place(self, part: Part, first: Sequence[str]) -> None:
        """Say what each row waits for; those that wait for none of their part wait for ``first``."""
        waited: set[str] = set()
        for group in part.groups:
            above = self._above(part, group)
            self.place(group, above or first)
            waited.update(above)
        for declared, rows in part.rows.items():
            usual = self._usual(part, declared) or first
            for row in rows:
                row.after = usual if row.bound.after is None else self._said(row) or first
                self._edges += len(row.after)
                waited.update(row.after)
                if self._edges > MAX_EDGES:
                    raise self._yielded.error(
                        f"more than {MAX_EDGES:,} pairs of steps wait for each other, at {row.name};"
                        " put one step between two that are repeated"
                    )
        names = [row.name for row in part.awaited()]
        inner = [end for group in part.groups for end in group.ends]
        part.ends = [name for name in [*names, *inner] if name not in waited] or first

    def _above(self, part: Part, item: str | Part) -> Sequence[str]:
        """Return the names of what is yielded above a group, or above the first row of a step."""
        above = part.above[item]
        if above is None:
            return ()
        return above.ends if isinstance(above, Part) else [row.name for row in part.rows[above]]

    def _usual(self, part: Part, declared: str) -> Sequence[str]:
        """Return what all repetitions of a step wait for, unless one says otherwise."""
        step, above = part.declared.step(declared), part.above[declared]
        names = self._rows_before(part, step)
        if isinstance(above, Part) and step.follows_above:
            reached = self._above(part, above)
            names = [*above.ends, *(name for name in names if name not in reached)]
        return list(dict.fromkeys(names))

    def _rows_before(self, part: Part, step: StepDefinition) -> list[str]:
        """Return the rows of its predecessors; of one that is left out, those of its own."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        todo = [*reversed(step.after)]
        while todo:
            name = todo.pop()
            if name in part.rows:
                found |= dict.fromkeys(row.name for row in part.rows[name])
            elif name not in seen:
                todo += reversed(part.declared.step(name).after)
            seen.add(name)
        return [*found]

    def _said(self, row: YieldedRow) -> Sequence[str]:
        found: dict[str, None] = {}
        for place in row.bound.after or ():
            found |= dict.fromkeys(self._named(row, place))
        for name in found:
            if not self._yielded.order[name][0].definition.wait:
                message = f"{row.name} waits for {name}, for which nobody waits (wait=False)"
                raise self._yielded.error(message)
        return [*found]

    def _named(self, row: YieldedRow, place: Step[Any, Any] | BoundStep) -> Sequence[str]:
        if isinstance(place, BoundStep):
            if id(place) not in self._yielded.bound:
                message = f"{row.name} waits for {place.name}, which plan() does not yield"
                raise self._yielded.error(message)
            return [self._yielded.bound[id(place)].name]
        for part in self._yielded.parts:
            if place.belongs_to(part.declared.saga):
                rows = part.rows.get(place.name, [])
                left_out = part.declared.step(place.name)
                return [row.name for row in rows] or self._rows_before(part, left_out)
        raise self._yielded.error(f"{row.name} waits for {place.place}, which is not in its plan")
