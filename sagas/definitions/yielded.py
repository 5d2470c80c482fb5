"""What ``plan(cls, input)`` yields, step by step: rows without their predecessors, and groups of such rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sagas.definitions.context import SagaContext
from sagas.definitions.invocation import NO_VALUE
from sagas.definitions.problems import Problem
from sagas.definitions.rules import MAX_NAME_LENGTH
from sagas.definitions.step import BoundStep, Step
from sagas.definitions.step_definition import StepDefinition
from sagas.exceptions import PayloadError, PlanError
from sagas.payloads import Codec


PlanItem = Step[Any, Any] | BoundStep | type[SagaContext[Any]]
"""What ``plan()`` yields: a step, one that is bound to an input, or another saga, for all its steps."""

MAX_STEPS = 10_000
"""Of one run."""


class Declared(Protocol):
    """What planning asks of a :class:`~sagas.definitions.SagaDefinition`."""

    @property
    def label(self) -> str:
        """The saga's."""

    @property
    def saga(self) -> type[Any]:
        """The class, whose ``plan()`` is asked."""

    @property
    def steps(self) -> Sequence[StepDefinition]:
        """All that it declares."""

    @property
    def input_codec(self) -> Codec[Any]:
        """Of the saga's input."""

    @property
    def abstract(self) -> bool:
        """Whether no run can have its steps."""

    def step(self, name: str) -> StepDefinition:
        """Return one of them."""

    def problems(self) -> list[Problem]:
        """Return what is wrong with it."""


@dataclass(kw_only=True, eq=False)
class YieldedRow:
    """A step that was yielded."""

    name: str
    definition: StepDefinition
    bound: BoundStep
    after: Sequence[str] = ()


@dataclass(kw_only=True, eq=False)
class Part:
    """What the ``plan()`` of one saga yielded: its rows, by declared step, and its groups."""

    declared: Declared
    rows: dict[str, list[YieldedRow]] = field(default_factory=dict)
    groups: list["Part"] = field(default_factory=list)
    above: "dict[str | Part, str | Part | None]" = field(default_factory=dict)
    """What stands above the first row of each step, and above each group."""

    ends: Sequence[str] = ()
    """The names of the rows that nothing of this part waits for."""

    def awaited(self) -> Iterator["YieldedRow"]:
        """Yield its own rows, without those for which nobody waits."""
        for rows in self.rows.values():
            yield from (row for row in rows if row.definition.wait)


def _is_iterable(items: object) -> bool:
    return isinstance(items, Iterable) and not isinstance(items, str | bytes)


class Yielded:
    """All that is yielded for one run."""

    def __init__(self, run: Declared) -> None:
        self.run = run
        self.order: dict[str, tuple[YieldedRow, Part]] = {}
        """By name, in the order in which they were yielded."""
        self.parts: list[Part] = []
        self.bound: dict[int, YieldedRow] = {}

    def error(self, message: str) -> PlanError:
        """Return the error that says what is wrong with this plan."""
        return PlanError(f"{self.run.label}: {message}", label=self.run.label)

    def collect(self, declared: Declared, saga_input: Any, within: Sequence[str] = ()) -> Part:
        """Ask ``plan()``, and that of each saga which it takes in."""
        part = Part(declared=declared)
        self.parts.append(part)
        above: str | Part | None = None
        for item in self._yielded(declared, saga_input):
            if isinstance(item, type):
                group = self._group(item, declared, saga_input, [*within, declared.label])
                if group.rows or group.groups:
                    part.groups.append(group)
                    part.above[group] = above
                    above = group
                continue
            row = self._row(part, item)
            part.above.setdefault(row.definition.name, above)
            if row.definition.wait:
                above = row.definition.name
        return part

    def _yielded(self, declared: Declared, saga_input: Any) -> Iterator[PlanItem]:
        items: Iterable[PlanItem] = declared.saga.plan(saga_input)
        place = f"plan() of {declared.saga.__name__}"
        if not _is_iterable(items):
            raise self.error(f"{place} returns {items!r}; let it yield steps")
        for number, item in enumerate(items):
            is_saga = isinstance(item, type) and issubclass(item, SagaContext)
            if not is_saga and not isinstance(item, Step | BoundStep):
                raise self.error(f"{place} yields {item!r}; it yields steps, as cls.reserve is one")
            if max(number, len(self.order)) >= MAX_STEPS:
                raise self.error(f"{place} yields more than {MAX_STEPS:,} steps; start more sagas")
            yield item

    def _group(self, saga: Any, outer: Declared, saga_input: Any, within: Sequence[str]) -> Part:
        declared: Declared | None = getattr(saga, "definition", None)
        if declared is None or declared.abstract or declared.label in within:
            raise self.error(f"plan() takes in {saga.__name__}, which is abstract, or itself")
        for problem in declared.problems():
            if problem.is_error:
                raise self.error(f"plan() takes in {problem.message} {problem.hint}")
        data = outer.input_codec.dump(saga_input, what=f"the input of {outer.label}")
        try:
            value = declared.input_codec.load(data, what=f"the input of {outer.label}")
        except PayloadError as error:
            raise self.error(f"{declared.label} cannot be a part of it: {error}") from None
        return self.collect(declared, value, within)

    def _row(self, part: Part, item: Step[Any, Any] | BoundStep) -> YieldedRow:
        bound = item if isinstance(item, BoundStep) else BoundStep(step=item)
        definition = self._definition(part.declared, bound.step)
        name = bound.name or definition.name
        self._check_name(name, definition, part)
        if definition.takes_input and bound.value is NO_VALUE and definition.inputs is None:
            bind = f"cls.{definition.name}.bind(value)"
            raise self.error(f"{name} takes an input and is given none; yield {bind}")
        row = YieldedRow(name=name, definition=definition, bound=bound)
        part.rows.setdefault(definition.name, []).append(row)
        self.order[name] = (row, part)
        self.bound[id(item)] = row
        return row

    def _definition(self, declared: Declared, step: Step[Any, Any]) -> StepDefinition:
        if not step.belongs_to(declared.saga):
            saga = declared.saga.__name__
            raise self.error(
                f"plan() of {saga} yields {step.place}, which is not a step of {saga}; to take in the"
                " steps of another saga yield its class"
            )
        return declared.step(step.name)

    def _check_name(self, name: str, definition: StepDefinition, part: Part) -> None:
        declared = definition.name
        inner = name.removeprefix(f"{declared}[").removesuffix("]")
        is_repetition = bool(inner) and name == f"{declared}[{inner}]" and name.isprintable()
        if name != declared and not is_repetition:
            raise self.error(f"{name!r} is no name of {declared}; use {declared}[...]")
        if len(name) > MAX_NAME_LENGTH:
            raise self.error(f"{name!r} is longer than {MAX_NAME_LENGTH} characters")
        if name in self.order:
            other = self.order[name][1]
            cure = f"name each repetition, as name=f'{declared}[{{line.sku}}]'"
            if other is not part:
                cure = f"{other.declared.label} and {part.declared.label} both have it; rename one"
            raise self.error(f"plan() yields {name!r} twice; {cure}")
