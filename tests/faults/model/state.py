"""What the search goes through: frozen rows, workers, and the world outside."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from sagas.engine.decisions import MAX_RECONCILE_ATTEMPTS
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
    pending_predecessors: int = 0
    successors: tuple[int, ...] = ()
    fence: int = 0
    attempt: int = 0
    in_doubt: bool = False
    reconcile_attempts: int | None = None
    ended: int = 0
    """When it ended, as a rank among the rows; 0: it did not."""

    position: int = 0
    sent: bool = False
    """A message of the present fence is in the broker."""

    told: bool = False
    """An outcome was recorded for the attempt of the present fence."""

    answer: str = ""
    """What an outside party said while the attempt ran, or with which it failed the step."""

    at_large: tuple[int, ...] = ()
    """The fences of attempts that were given up and may be alive."""

    met: bool = False
    """Its condition was asked, and said yes."""

    follow: str = ""
    """``hand``: tried again after the saga went on without it; ``left``: it ran when time was over."""

    progress: bool = False
    """A heartbeat says that the work is done; the next attempt of this life goes on from there."""

    holds: bool = False
    """``on_unknown="hold"``."""

    waited: bool = False
    """It was left to an outside party once."""

    @property
    def is_reconciling(self) -> bool:
        """Whether the attempt that is ready or running asks if the step happened."""
        return self.reconcile_attempts is not None


class Run(NamedTuple):
    """The saga, as its row has it."""

    remaining: int
    state: str = SagaState.RUNNING.value
    outcome_when_undone: str = ""
    pivot_passed: bool = False
    retries: int = 0
    overdue: bool = False
    """Its deadline passed; that happens once."""


class Worker(NamedTuple):
    """A process that holds an attempt, or a wait to end, whether or not the row still knows of it."""

    row: int
    fence: int
    reconciling: bool = False
    did: str = ""
    """``acted``; of a reconcile ``found`` or ``absent``; ``saw`` a wait run out; or nothing so far.

    Before it acts: ``wonders`` whether the condition is met, which was ``unmet``; or ``resumes`` from a
    heartbeat.
    """


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

    holds: frozenset[int] = frozenset()
    """The steps with ``on_unknown="hold"``."""

    conditions: frozenset[int] = frozenset()
    """The steps that are to be done unless their effect is there, or the world says otherwise."""

    beats: frozenset[int] = frozenset()
    """The compensations that tell of their progress, and go on from there."""

    misfits: frozenset[int] = frozenset()
    """The steps for which a worker may have no handler."""

    skips: frozenset[int] = frozenset()
    """The rows that operators settle by hand; they tell the truth, and undo by hand what they skip."""

    tries: frozenset[int] = frozenset()
    """The best-effort steps that operators try again by hand."""

    releases: bool = False
    """Operators turn dead letters back by hand."""

    knows_the_dead: bool = False
    """Workers that died can be known to be dead."""

    workers: int = 2
    max_retries: int = 1
    undo_retries: int = 0
    operator_retries: int = 1
    asks_left_out: int = MAX_RECONCILE_ATTEMPTS - 1
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
        descendants = tuple(_closure(following, s) for s in steps)
        object.__setattr__(self, "descendants", descendants)
        behind = frozenset(s for pivot in self.pivot for s in descendants[pivot])
        object.__setattr__(self, "final", self.pivot | behind)

    def is_final(self, keeps: Callable[[str], bool]) -> frozenset[int]:
        """Return the steps that nothing can undo (``StepRun.is_irreversible``)."""
        return self.final if keeps("a skipped pivot is passed") else self.pivot

    size: int = 0
    following: tuple[tuple[int, ...], ...] = ()
    descendants: tuple[frozenset[int], ...] = ()
    final: frozenset[int] = frozenset()

    def first(self) -> State:
        """Return the state that ``start_saga`` commits."""
        steps = tuple(
            Row(
                state=PENDING if after else READY,
                pending_predecessors=len(after),
                successors=self.following[index],
                position=index,
                sent=not after,
                holds=index in self.holds,
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


def canonical(state: State, plan: Plan) -> State:
    """Return the one state that stands for all that differ in names only.

    Workers have no names, of fences only the order counts, and so it is with the times of ends. An
    ended row's attempts are never looked at again; and who is at large matters only where somebody
    can say that nothing happened.
    """
    ranks = _ranks(frozenset([row.ended for row in state.rows if row is not None]))
    workers = state.workers
    held = [worker.row for worker in workers]
    rows = list(state.rows)
    for index, row in enumerate(state.rows):
        if row is None:
            continue
        at_large = row.at_large
        if at_large and index not in plan.reconcile and index not in plan.waits:
            at_large = ()
        fence = 1 if row.fence else 0
        if index in held:
            workers, fence, at_large = _rename(index, row._replace(at_large=at_large), workers)
        elif at_large:
            at_large = (0,)
        between = row.state in BETWEEN_ENDS
        named = (
            fence,
            row.attempt if between else 0,
            ranks[row.ended],
            row.sent and row.state == READY,
            at_large,
            row.waited and index in plan.skips,
        )
        if named != (row.fence, row.attempt, row.ended, row.sent, row.at_large, row.waited):
            fence, attempt, ended, sent, at_large, waited = named
            rows[index] = row._replace(
                fence=fence,
                attempt=attempt,
                ended=ended,
                sent=sent,
                at_large=at_large,
                waited=waited,
            )
    if len(workers) > 1:
        workers = tuple(sorted(workers))
    return state._replace(rows=tuple(rows), workers=workers)


@cache
def _ranks(ends: frozenset[int]) -> dict[int, int]:
    """Number the times of ends in their order; 0 stays: it has not ended."""
    return {ended: rank for rank, ended in enumerate(sorted(ends | {0}))}


def _rename(
    index: int, row: Row, workers: tuple[Worker, ...]
) -> tuple[tuple[Worker, ...], int, tuple[int, ...]]:
    """Number the fences of a row anew, in their order; of those whose worker is gone, one stands for all."""
    alive = {w.fence for w in workers if w.row == index}
    held = sorted({row.fence, *alive})
    base = 1 if held[0] else 0
    names = {fence: base + place for place, fence in enumerate(held)}
    at_large = tuple(sorted({names[f] if f in alive else 0 for f in row.at_large}))
    if held[-1] == base + len(held) - 1:
        return workers, row.fence, at_large
    renamed = tuple(w._replace(fence=names[w.fence]) if w.row == index else w for w in workers)
    return renamed, names[row.fence], at_large
