"""Everything that can happen next: the engine's own moves, faults, time and operators."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sagas.states import ACTIVE_SAGAS, SagaState
from tests.faults.model.deciding import Told
from tests.faults.model.engine import Engine
from tests.faults.model.rows import require
from tests.faults.model.state import (
    DONE,
    FAILED,
    LATE,
    NOTHING,
    READY,
    RUNNING,
    SHUT,
    STRAY,
    UNDONE,
    UNKNOWN,
    VOID,
    Plan,
    Row,
    State,
    Worker,
)


@dataclass(frozen=True)
class Action:
    """One thing that happens to one row, by one worker where there is one."""

    name: str
    row: int = -1
    fence: int = -1
    told: Told | None = None

    @property
    def is_fault(self) -> bool:
        """Whether things could go well without it."""
        return self.name in FAULTS or self.told in {Told.REFUSED, Told.NO_ANSWER}


FAULTS = frozenset({"lose", "deliver again", "crash", "stall", "cancel", "deadline", "retry"})

MAY_CANCEL = frozenset({"pending", "ready", "failed", "skipped"})


def possible(plan: Plan, state: State) -> Iterator[Action]:
    """List what can happen in this state."""
    for index, row in enumerate(state.rows):
        if row is not None:
            yield from _of_message(plan, state, index, row)
            if row.state == RUNNING and "leases end" not in plan.without:
                held = any(w.row == index and w.fence == row.fence for w in state.workers)
                yield Action("stall" if held else "lease ends", index, row.fence)
    for worker in state.workers:
        yield from _of_worker(plan, state, worker)
    yield from _of_run(plan, state)


def _of_message(plan: Plan, state: State, index: int, row: Row) -> Iterator[Action]:
    free = len(state.workers) < plan.workers
    if row.state == READY:
        if row.sent or not plan.loses:
            if plan.loses:
                yield Action("lose", index, row.fence)
            if free:
                yield Action("deliver", index, row.fence)
        elif state.run.state in ACTIVE_SAGAS and "the sweep sends again" not in plan.without:
            yield Action("resend", index, row.fence)
    if free and row.fence:
        yield Action("deliver again", index, row.fence - 1)
    if free and row.state in {SHUT, UNKNOWN}:
        yield Action("deliver again", index, row.fence)


def _of_worker(plan: Plan, state: State, worker: Worker) -> Iterator[Action]:
    index, fence = worker.row, worker.fence
    yield Action("crash", index, fence)
    if worker.asking:
        if not worker.did:
            yield Action("ask", index, fence)
        else:
            told = Told.SUCCEEDED if worker.did == "found" else Told.ABSENT
            yield Action("tell", index, fence, told)
        yield Action("tell", index, fence, Told.NO_ANSWER)
        return
    step = index % plan.size
    if worker.did:
        yield Action("tell", index, fence, Told.SUCCEEDED)
    else:
        if index >= plan.size or state.world[step] != VOID:
            yield Action("act", index, fence)
        yield Action("tell", index, fence, Told.REFUSED)
    yield Action("tell", index, fence, Told.NO_ANSWER)


def _of_run(plan: Plan, state: State) -> Iterator[Action]:
    run = state.run
    if run.state == SagaState.RUNNING:
        if plan.can_expire and not run.overdue:
            yield Action("deadline")
        if plan.can_cancel and not _pivot_started(plan, state):
            yield Action("cancel")
    if run.state == SagaState.DEAD_LETTER and run.retries < plan.operator_retries:
        yield Action("retry")


def _pivot_started(plan: Plan, state: State) -> bool:
    pivots = (row for step in plan.pivot if (row := state.rows[step]) is not None)
    return any(row.state not in MAY_CANCEL or row.doubtful for row in pivots)


def after(plan: Plan, state: State, action: Action) -> State:
    """Return the state after an action; the same one when the guards refuse it."""
    engine = Engine(plan, state)
    _DO[action.name](engine, action)
    return engine.frozen()


def _deliver(engine: Engine, action: Action) -> None:
    engine.claim(action.row, action.fence)


def _resend(engine: Engine, action: Action) -> None:
    engine.put(action.row, sent=True)


def _lose(engine: Engine, action: Action) -> None:
    engine.put(action.row, sent=False)


def _worker(engine: Engine, action: Action) -> int:
    """Return the place of the worker that holds this attempt."""
    held = ((w.row, w.fence) for w in engine.workers)
    return list(held).index((action.row, action.fence))


def _crash(engine: Engine, action: Action) -> None:
    del engine.workers[_worker(engine, action)]


def _lease_ends(engine: Engine, action: Action) -> None:
    engine.record_outcome(action.row, action.fence, Told.LOST)


def _act(engine: Engine, action: Action) -> None:
    place = _worker(engine, action)
    row = engine.row(action.row)
    given_up = row.state != RUNNING or row.fence != action.fence
    if engine.is_backward(action.row):
        _undo(engine, action.row - engine.plan.size, given_up=given_up)
    else:
        effect = engine.world[action.row]
        if not given_up:
            engine.world[action.row] = DONE
        elif effect in {NOTHING, UNDONE}:
            engine.world[action.row] = STRAY
    engine.workers[place] = engine.workers[place]._replace(did="acted")


def _undo(engine: Engine, step: int, *, given_up: bool) -> None:
    if not given_up:
        later = engine.plan.descendants[step] - engine.plan.no_compensation
        for other in later:
            given_up_on = engine.plan.continue_undoing and _undo_failed(engine, other)
            done_first = engine.world[other] != DONE or given_up_on
            require("what came last is undone first", done_first, f"{step} before {other}")
    effect = engine.world[step]
    if effect in {DONE, STRAY, LATE}:
        engine.world[step] = VOID if engine.plan.refusing else UNDONE
    elif engine.plan.refusing:
        engine.world[step] = VOID


def _undo_failed(engine: Engine, step: int) -> bool:
    row = engine.rows[engine.plan.size + step]
    return row is not None and row.state in {FAILED, UNKNOWN}


def _ask(engine: Engine, action: Action) -> None:
    place = _worker(engine, action)
    found = engine.world[action.row] in {DONE, STRAY, LATE}
    engine.workers[place] = engine.workers[place]._replace(did="found" if found else "absent")


def _tell(engine: Engine, action: Action) -> None:
    worker = engine.workers.pop(_worker(engine, action))
    assert action.told is not None
    knows = action.told is Told.SUCCEEDED and not engine.is_backward(worker.row)
    if knows and engine.world[worker.row] == STRAY:
        engine.world[worker.row] = LATE
    engine.record_outcome(worker.row, worker.fence, action.told)


def _deadline(engine: Engine, action: Action) -> None:
    engine.run = engine.run._replace(overdue=True)
    engine.turn_back(SagaState.COMPENSATED)


def _cancel(engine: Engine, action: Action) -> None:
    engine.turn_back(SagaState.CANCELLED)


def _retry(engine: Engine, action: Action) -> None:
    engine.retry_saga()


_DO: dict[str, Callable[[Engine, Action], None]] = {
    "deliver": _deliver,
    "deliver again": _deliver,
    "resend": _resend,
    "lose": _lose,
    "crash": _crash,
    "lease ends": _lease_ends,
    "stall": _lease_ends,
    "act": _act,
    "ask": _ask,
    "tell": _tell,
    "deadline": _deadline,
    "cancel": _cancel,
    "retry": _retry,
}
