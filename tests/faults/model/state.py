"""What the search goes through: frozen rows, workers, and the world outside."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from sagas.decisions import MAX_ASKS
from sagas.states import SagaState, StepState


PENDING, READY, RUNNING, WAITING = (
    state.value
    for state in (StepState.PENDING, StepState.READY, StepState.RUNNING, StepState.WAITING)
)
SUCCEEDED, FAILED, UNKNOWN = (
    state.value for state in (StepState.SUCCEEDED, StepState.FAILED, StepState.UNKNOWN)
)
SKIPPED, SHUT, COMPENSATED = (
    state.value for state in (StepState.SKIPPED, StepState.CANCELLED, StepState.COMPENSATED)
)
IN_FLIGHT = frozenset({RUNNING, WAITING})
BETWEEN_ENDS = frozenset({READY, RUNNING, WAITING})


class Row(NamedTuple):
    """A step or a compensation, as its row has it."""

    state: str = PENDING
    blockers: int = 0
    successors: tuple[int, ...] = ()
    fence: int = 0
    attempt: int = 0
    doubtful: bool = False
    asking: bool = False
    asked: int = 0
    ended: int = 0
    """When it ended, as a rank among the rows; 0: it did not."""

    position: int = 0
    sent: bool = False
    """A message of the present fence is in the broker."""

    told: bool = False
    """An outcome was recorded for the attempt of the present fence."""

    answer: str = ""
    """What an outside party said while the attempt ran, or with which it failed the step."""


class Run(NamedTuple):
    """The saga, as its row has it."""

    remaining: int
    state: str = SagaState.RUNNING.value
    ends_as: str = ""
    pivot_passed: bool = False
    retries: int = 0
    overdue: bool = False
    """Its deadline passed; that happens once."""


class Worker(NamedTuple):
    """A process that holds an attempt, or a wait to end, whether or not the row still knows of it."""

    row: int
    fence: int
    asking: bool = False
    did: str = ""
    """``acted``; of a question ``found`` or ``absent``; ``saw`` a wait run out; or nothing so far."""


NOTHING, DONE, UNDONE, VOID = "nothing", "done", "undone", "void"
STRAY, LATE = "stray", "late"
"""What the world outside has of a step's key.

``stray``: the effect was made by an attempt that had been given up, and nobody told so far.
``late``: it was a stray, and then told of. ``void``: the outside system remembers that it was undone,
before or after it happened, and refuses it from then on.
"""

ASKED, ACTED, DENIED = "asked", "acted", "denied"
"""How far the outside party of a step that waits is: by its key it decides once."""


class State(NamedTuple):
    """One moment. Rows: the steps, then their compensations (None while they do not exist)."""

    run: Run
    rows: tuple[Row | None, ...]
    workers: tuple[Worker, ...]
    world: tuple[str, ...]
    parties: tuple[str, ...]
    """The outside parties, in the order of the rows."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A saga under test, and how much may go wrong with it."""

    name: str
    after: tuple[tuple[int, ...], ...]
    pivot: frozenset[int] = frozenset()
    best_effort: frozenset[int] = frozenset()
    reconcile: frozenset[int] = frozenset()
    no_compensation: frozenset[int] = frozenset()
    waits: frozenset[int] = frozenset()
    """The rows whose handlers leave it to an outside party."""

    workers: int = 2
    max_retries: int = 1
    undo_retries: int = 0
    operator_retries: int = 1
    asks_left_out: int = MAX_ASKS - 1
    """Of the many times that an outside system is asked, the search looks at the last ones."""

    continue_undoing: bool = False
    refusing: bool = False
    """The outside systems remember a key that was undone, and refuse it from then on."""

    loses: bool = True
    """Messages can be lost. Otherwise each is delivered at any later time, or never."""

    can_cancel: bool = True
    can_expire: bool = True
    without: frozenset[str] = frozenset()
    """The guards that are taken out: of a mutant."""

    def __post_init__(self) -> None:
        """Compute what every transition looks up."""
        steps = range(len(self.after))
        following = tuple(tuple(f for f in steps if s in self.after[f]) for s in steps)
        object.__setattr__(self, "size", len(self.after))
        object.__setattr__(self, "following", following)
        object.__setattr__(self, "descendants", tuple(_closure(following, s) for s in steps))

    size: int = 0
    following: tuple[tuple[int, ...], ...] = ()
    descendants: tuple[frozenset[int], ...] = ()

    def first(self) -> State:
        """Return the state that ``start_saga`` commits."""
        steps = tuple(
            Row(
                state=PENDING if after else READY,
                blockers=len(after),
                successors=self.following[index],
                position=index,
                sent=not after,
            )
            for index, after in enumerate(self.after)
        )
        last = sum(not following for following in self.following)
        nothing = (NOTHING,) * self.size
        nobody = ("",) * (2 * self.size)
        return State(Run(remaining=last), (*steps, *(None,) * self.size), (), nothing, nobody)


def _closure(following: tuple[tuple[int, ...], ...], step: int) -> frozenset[int]:
    found: set[int] = set()
    todo = [*following[step]]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += following[one]
    return frozenset(found)


def canonical(state: State) -> State:
    """Return the one state that stands for all that differ in names only.

    Workers have no names, of fences only the order counts, and so it is with the times of ends. An
    ended row's attempts are never looked at again.
    """
    ranks = _ranks(frozenset([row.ended for row in state.rows if row is not None]))
    workers = state.workers
    held = [worker.row for worker in workers]
    rows = None
    for index, row in enumerate(state.rows):
        if row is None:
            continue
        fence = 1 if row.fence else 0
        if index in held:
            workers, fence = _rename(index, row, workers)
        attempt = row.attempt if row.state in BETWEEN_ENDS else 0
        ended, sent = ranks[row.ended], row.sent and row.state == READY
        if (
            fence != row.fence
            or attempt != row.attempt
            or ended != row.ended
            or sent is not row.sent
        ):
            rows = rows or list(state.rows)
            rows[index] = row._replace(fence=fence, attempt=attempt, ended=ended, sent=sent)
    if len(workers) > 1:
        workers = tuple(sorted(workers))
    return state._replace(rows=tuple(rows) if rows else state.rows, workers=workers)


@cache
def _ranks(ends: frozenset[int]) -> dict[int, int]:
    """Number the times of ends in their order; 0 stays: it has not ended."""
    return {ended: rank for rank, ended in enumerate(sorted(ends | {0}))}


def _rename(index: int, row: Row, workers: tuple[Worker, ...]) -> tuple[tuple[Worker, ...], int]:
    """Number the fences of a row anew, in their order."""
    held = sorted({row.fence, *(w.fence for w in workers if w.row == index)})
    base = 1 if held[0] else 0
    if held[-1] == base + len(held) - 1:
        return workers, row.fence
    renamed = tuple(
        w._replace(fence=base + held.index(w.fence)) if w.row == index else w for w in workers
    )
    return renamed, base + held.index(row.fence)
