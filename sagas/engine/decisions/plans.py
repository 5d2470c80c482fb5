"""What follows what: a step that ended, in which order steps are undone, and where a resumed saga stands."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from typing import Any, Protocol, TypeVar

from sagas.engine.decisions.pivot import may_have_passed
from sagas.states import (
    DONE,
    IN_FLIGHT_STEPS,
    UNBEGUN_STEPS,
    UNSUCCESSFUL_STEPS,
    Direction,
    SagaState,
    StepState,
)


class Next(Enum):
    """What an ended step means for its run."""

    GO_ON = auto()
    """Release what follows; at the end of the way the run is done."""

    TURN_BACK = auto()
    """A critical step failed before the point of no return."""

    BEGIN_UNDO_WHEN_IDLE = auto()
    """The run is turning back already: undo as soon as nothing is in flight."""

    DEAD_LETTER = auto()
    """No way forward or back; a human decides."""

    NOTHING = auto()
    """The run stands still; the outcome is recorded and nothing moves."""


def after_step(  # noqa: PLR0913 each is one fact
    state: StepState,
    *,
    direction: Direction,
    critical: bool,
    is_irreversible: bool,
    run_state: SagaState,
    pivot_passed: bool,
    continue_undoing: bool,
    hold_unknown: bool = False,
) -> Next:
    """Decide what a step that ended in ``state`` means for its run."""
    succeeded = state in DONE
    if direction == Direction.BACKWARD:
        goes_on = succeeded or continue_undoing
        standing = run_state != SagaState.COMPENSATING
        return Next.NOTHING if standing else Next.GO_ON if goes_on else Next.DEAD_LETTER
    if run_state == SagaState.COMPENSATING:
        return Next.BEGIN_UNDO_WHEN_IDLE
    if run_state != SagaState.RUNNING:
        return Next.NOTHING
    if succeeded or not critical:
        return Next.GO_ON
    held = hold_unknown and state == StepState.UNKNOWN
    no_way_back = pivot_passed or held or may_have_passed(state, is_irreversible=is_irreversible)
    return Next.DEAD_LETTER if no_way_back else Next.TURN_BACK


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a step stands in a plan that is resumed."""

    state: StepState
    pending_predecessors: int


class Planned(Protocol):
    """What :func:`replan` looks at; a :class:`~sagas.models.StepRun` has it."""

    @property
    def pk(self) -> Any:
        """The step's id."""

    @property
    def state(self) -> str:
        """Where it stands."""

    @property
    def critical(self) -> bool:
        """Whether the saga fails with it."""

    @property
    def detached(self) -> bool:
        """Whether nobody waits for it: its saga goes on without it, or has done."""

    @property
    def successors(self) -> Sequence[str]:
        """The ids of the steps that wait for it."""


def replan(steps: Sequence[Planned]) -> dict[Any, Place]:
    """Return the places of the forward steps that are not done, by id.

    Done is what succeeded or was skipped, and a best-effort step that ended in any way, whatever a
    follow-up of it does. One for which nobody waits has a place if it has not begun, and holds up
    nothing.
    """
    undone = [step for step in steps if not _is_done(step)]
    awaited = [step for step in undone if not step.detached]
    pending_predecessors = Counter(successor for step in awaited for successor in step.successors)
    return {step.pk: _place(step, pending_predecessors[str(step.pk)]) for step in undone}


def _is_done(step: Planned) -> bool:
    if step.detached:
        return step.state not in UNBEGUN_STEPS
    if step.state in UNSUCCESSFUL_STEPS:
        return not step.critical
    return step.state in DONE


def _place(step: Planned, pending_predecessors: int) -> Place:
    if step.state in IN_FLIGHT_STEPS:
        return Place(state=StepState(step.state), pending_predecessors=pending_predecessors)
    return Place(
        state=StepState.PENDING if pending_predecessors else StepState.READY,
        pending_predecessors=pending_predecessors,
    )


class Undoable(Protocol):
    """What :func:`undo_order` looks at; a :class:`~sagas.models.StepRun` has it."""

    @property
    def pk(self) -> Any:
        """The step's id."""

    @property
    def position(self) -> int:
        """Its place in the declaration."""

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""

    @property
    def successors(self) -> Sequence[str]:
        """The ids of the steps that wait for it."""


UndoableT = TypeVar("UndoableT", bound=Undoable)


def undo_order(steps: Sequence[UndoableT]) -> list[UndoableT]:
    """Return ``steps`` in the order in which they would be undone; give all, to see all ties.

    Last ended, first undone; and never before a step that depends on it, even when a clock went
    backwards or two ended in one instant.
    """
    by_id = {str(step.pk): step for step in steps}
    sorter = TopologicalSorter(
        {key: [s for s in step.successors if s in by_id] for key, step in by_id.items()}
    )
    sorter.prepare()
    waiting: list[tuple[float, int, str]] = []
    ordered: list[UndoableT] = []
    while sorter.is_active():
        for key in sorter.get_ready():
            heappush(waiting, (*_undo_rank(by_id[key]), key))
        *_, key = heappop(waiting)
        ordered.append(by_id[key])
        sorter.done(key)
    return ordered


def _undo_rank(step: Undoable) -> tuple[float, int]:
    ended = step.ended_at.timestamp() if step.ended_at else float("inf")
    return (-ended, -step.position)


class Linked(Protocol):
    """What :func:`dependents` looks at; a :class:`~sagas.models.StepRun` has it."""

    @property
    def pk(self) -> Any:
        """The step's id."""

    @property
    def successors(self) -> Sequence[str]:
        """The ids of the steps that wait for it."""


LinkedT = TypeVar("LinkedT", bound=Linked)


def dependents(steps: Sequence[LinkedT], first: LinkedT) -> list[LinkedT]:
    """Return ``first`` and all of ``steps`` that depend on it, also through others, as they stand."""
    by_id = {str(step.pk): step for step in steps}
    found = {str(first.pk)}
    open_ends = [first]
    while open_ends:
        new = [key for key in open_ends.pop().successors if key in by_id and key not in found]
        found.update(new)
        open_ends += [by_id[key] for key in new]
    return [step for step in steps if str(step.pk) in found]
