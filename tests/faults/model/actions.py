"""Everything that can happen next: the engine's own moves, faults, time and operators."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sagas.states import SagaState
from tests.faults.model.by_hand import ByHand as Engine
from tests.faults.model.deciding import Told
from tests.faults.model.engine import LEAVES_DOUBT
from tests.faults.model.state import (
    ACTED,
    ASKED,
    DENIED,
    DONE,
    IN_FLIGHT,
    LATE,
    PENDING,
    READY,
    RUNNING,
    SHUT,
    STRAY,
    UNKNOWN,
    VOID,
    WAITING,
    Plan,
    Row,
    State,
    Worker,
)
from tests.faults.model.world import ask_outside, settle_outside, take_effect


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
        return self.name in FAULTS or self.told in {Told.REFUSED, Told.NO_ANSWER, Told.DENIED}

    @property
    def is_help(self) -> bool:
        """Whether somebody outside helps: an operator, or a party that is asked."""
        return self.name in HELP and self.told is not Told.DENIED


FAULTS = frozenset(
    {"lose", "deliver again", "crash", "stall", "cancel", "deadline", "put back", "try again"}
)

HELP = frozenset(
    {"retry", "outside decides", "outside says", "skip", "skip with a result", "compensate"}
)

SAW = "saw"


def possible(plan: Plan, state: State) -> Iterator[Action]:
    """List what can happen in this state."""
    engine = Engine(plan, state)
    for index, row in enumerate(state.rows):
        if row is not None:
            yield from _of_message(plan, engine, index, row)
            if row.state == RUNNING and "leases end" not in plan.without:
                held = any(w.row == index and w.fence == row.fence for w in state.workers)
                yield Action("stall" if held else "lease ends", index, row.fence)
                if not held and plan.knows_the_dead:
                    yield Action("found dead", index, row.fence)
    for worker in state.workers:
        yield from _of_worker(plan, state, worker)
    for index in plan.waits:
        yield from _of_party(plan, state, index)
    yield from _of_run(plan, engine)


def _of_message(plan: Plan, engine: Engine, index: int, row: Row) -> Iterator[Action]:
    free = len(engine.workers) < plan.workers
    if row.state == READY:
        if row.sent or not plan.loses:
            if plan.loses:
                yield Action("lose", index, row.fence)
            if free:
                yield Action("deliver", index, row.fence)
        elif engine.goes_its_way(index) and "the sweep sends again" not in plan.without:
            yield Action("resend", index, row.fence)
    if free and row.fence:
        yield Action("deliver again", index, row.fence - 1)
    if free and row.state in {SHUT, UNKNOWN, PENDING}:
        yield Action("deliver again", index, row.fence)


def _of_worker(plan: Plan, state: State, worker: Worker) -> Iterator[Action]:
    index, fence = worker.row, worker.fence
    yield Action("crash", index, fence)
    if worker.did == SAW:
        yield Action("end the wait", index, fence)
    elif worker.reconciling:
        yield from _of_question(worker)
    elif worker.did == "wonders":
        if state.world[index] not in {DONE, STRAY, LATE, VOID}:
            yield Action("condition says yes", index, fence)
        yield Action("condition says no", index, fence)
    elif worker.did == "unmet":
        yield Action("tell", index, fence, Told.SKIPPED)
    else:
        yield from _of_handler(plan, state, worker)
    begun = worker.did not in {"", "wonders", "resumes"}
    if index in plan.misfits and not begun:
        yield Action("put back", index, fence)


def _of_question(worker: Worker) -> Iterator[Action]:
    index, fence = worker.row, worker.fence
    if not worker.did:
        yield Action("ask", index, fence)
    else:
        told = Told.SUCCEEDED if worker.did == "found" else Told.ABSENT
        yield Action("tell", index, fence, told)
    yield Action("tell", index, fence, Told.NO_ANSWER)


def _of_handler(plan: Plan, state: State, worker: Worker) -> Iterator[Action]:
    index, fence = worker.row, worker.fence
    if worker.did == "acted":
        told = Told.WAITS if index in plan.waits else Told.SUCCEEDED
        yield Action("tell", index, fence, told)
        if "our own errors leave doubt" in plan.without:
            yield Action("tell", index, fence, Told.REFUSED)
        if index in plan.beats:
            yield Action("beat", index, fence)
    else:
        if index >= plan.size or state.world[index] != VOID:
            yield Action("act", index, fence)
        yield Action("tell", index, fence, Told.REFUSED)
    yield Action("tell", index, fence, Told.NO_ANSWER)


def _of_party(plan: Plan, state: State, index: int) -> Iterator[Action]:
    """What whoever was asked does and says; nothing, for ever, is among it."""
    party, row = state.parties[index], state.rows[index]
    if party == ASKED:
        yield Action("outside decides", index, told=Told.SUCCEEDED)
        yield Action("outside decides", index, told=Told.DENIED)
    elif party:
        told = Told.SUCCEEDED if party == ACTED else Told.DENIED
        yield Action("outside says", index, told=told)
    if row is not None and row.state == WAITING and "waits end" not in plan.without:
        seen = Worker(index, row.fence, did=SAW) in state.workers
        if not seen and len(state.workers) < plan.workers:
            yield Action("see the wait run out", index, row.fence)


def _of_run(plan: Plan, engine: Engine) -> Iterator[Action]:
    run = engine.run
    if run.state == SagaState.RUNNING:
        if plan.can_expire and not run.overdue:
            yield Action("deadline")
        if plan.can_cancel and not engine.may_be_past_pivot():
            yield Action("cancel")
    if (
        run.state == SagaState.DEAD_LETTER
        and run.retries < plan.operator_retries
        and not engine.is_held()
    ):
        yield Action("retry")
    if plan.releases and engine.may_turn_back():
        yield Action("compensate")
    yield from _by_hand(plan, engine)


def _by_hand(plan: Plan, engine: Engine) -> Iterator[Action]:
    """What operators do to single steps."""
    for index in plan.skips:
        if not engine.may_skip(index):
            continue
        if index >= plan.size or engine.world[index] not in {DONE, STRAY, LATE}:
            yield Action("skip", index)
        if index < plan.size and engine.world[index] != VOID:
            yield Action("skip with a result", index)
    for index in plan.tries:
        forward = engine.run.state in {SagaState.RUNNING, SagaState.COMPLETED}
        if forward and engine.is_open_end(index) and not engine.row(index).follow:
            yield Action("try again", index)


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
    _lost(engine, action, Told.LOST)


def _found_dead(engine: Engine, action: Action) -> None:
    _lost(engine, action, Told.BURIED)


def _lost(engine: Engine, action: Action, told: Told) -> None:
    reconciling = engine.row(action.row).is_reconciling
    engine.record_outcome(action.row, action.fence, told, reconciling=reconciling)


def _did(engine: Engine, action: Action, did: str) -> Worker:
    place = _worker(engine, action)
    before = engine.workers[place]
    engine.workers[place] = before._replace(did=did)
    return before


def _condition_says_yes(engine: Engine, action: Action) -> None:
    _did(engine, action, "")
    if not engine.keep_prepared(action.row, action.fence):
        del engine.workers[_worker(engine, action)]


def _condition_says_no(engine: Engine, action: Action) -> None:
    _did(engine, action, "unmet")


def _beat(engine: Engine, action: Action) -> None:
    engine.beat(action.row, action.fence)


def _put_back(engine: Engine, action: Action) -> None:
    worker = engine.workers.pop(_worker(engine, action))
    engine.postpone(action.row, action.fence, reconciling=worker.reconciling)


def _act(engine: Engine, action: Action) -> None:
    row = engine.row(action.row)
    worker = _did(engine, action, "acted")
    if action.row in engine.plan.waits:
        ask_outside(engine, action.row)
    elif worker.did != "resumes":  # one that resumes finds in its heartbeat that all is done
        given_up = row.state != RUNNING or row.fence != action.fence
        take_effect(engine, action.row, given_up=given_up)


def _ask(engine: Engine, action: Action) -> None:
    place = _worker(engine, action)
    found = engine.world[action.row] in {DONE, STRAY, LATE}
    engine.workers[place] = engine.workers[place]._replace(did="found" if found else "absent")


def _tell(engine: Engine, action: Action) -> None:
    worker = engine.workers.pop(_worker(engine, action))
    told = action.told
    assert told is not None
    of_it = told in LEAVES_DOUBT or told is Told.SUCCEEDED
    if told is Told.NO_ANSWER and worker.reconciling:
        of_it = False
    if of_it and not engine.is_backward(worker.row) and engine.world[worker.row] == STRAY:
        engine.world[worker.row] = LATE
    engine.record_outcome(worker.row, worker.fence, told, reconciling=worker.reconciling)


def _outside_decides(engine: Engine, action: Action) -> None:
    denied = action.told is Told.DENIED
    engine.parties[action.row] = DENIED if denied else ACTED
    if not denied:
        row = engine.row(action.row)
        given_up = row.state not in IN_FLIGHT or row.is_reconciling
        take_effect(engine, action.row, given_up=given_up)


def _outside_says(engine: Engine, action: Action) -> None:
    assert action.told is not None
    if not engine.is_backward(action.row) and engine.world[action.row] == STRAY:
        engine.world[action.row] = LATE
    engine.answer(action.row, action.told)


def _see_wait(engine: Engine, action: Action) -> None:
    engine.see_it_run_out(action.row, action.fence)


def _end_wait(engine: Engine, action: Action) -> None:
    del engine.workers[_worker(engine, action)]
    engine.end_lost_wait(action.row, action.fence)


def _deadline(engine: Engine, action: Action) -> None:
    engine.run = engine.run._replace(overdue=True)
    engine.pass_deadline()


def _cancel(engine: Engine, action: Action) -> None:
    engine.cancel_saga()


def _retry(engine: Engine, action: Action) -> None:
    engine.retry_saga()
    engine.parties = ["" if party == DENIED else party for party in engine.parties]


def _compensate(engine: Engine, action: Action) -> None:
    engine.compensate_saga()


def _skip(engine: Engine, action: Action) -> None:
    with_result = action.name == "skip with a result"
    settle_outside(engine, action.row, done=with_result)
    engine.skip_step(action.row, with_result=with_result)


def _try_again(engine: Engine, action: Action) -> None:
    engine.reopen_step(action.row)


_DO: dict[str, Callable[[Engine, Action], None]] = {
    "deliver": _deliver,
    "deliver again": _deliver,
    "resend": _resend,
    "lose": _lose,
    "crash": _crash,
    "lease ends": _lease_ends,
    "stall": _lease_ends,
    "found dead": _found_dead,
    "condition says yes": _condition_says_yes,
    "condition says no": _condition_says_no,
    "beat": _beat,
    "put back": _put_back,
    "compensate": _compensate,
    "skip": _skip,
    "skip with a result": _skip,
    "try again": _try_again,
    "act": _act,
    "ask": _ask,
    "tell": _tell,
    "outside decides": _outside_decides,
    "outside says": _outside_says,
    "see the wait run out": _see_wait,
    "end the wait": _end_wait,
    "deadline": _deadline,
    "cancel": _cancel,
    "retry": _retry,
}
