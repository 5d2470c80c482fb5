"""The guarded transitions of the package, on frozen rows. Names follow the originals.

Each guard can be taken out (``Plan.without``), to show that the search would miss it.
"""

from sagas.decisions import Next, Verdict
from sagas.states import ACTIVE_SAGAS, Direction, SagaState, StepState
from tests.faults.model import deciding
from tests.faults.model.deciding import Told
from tests.faults.model.resuming import Resuming
from tests.faults.model.rows import require
from tests.faults.model.state import (
    COMPENSATED,
    FAILED,
    IN_FLIGHT,
    PENDING,
    READY,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    UNKNOWN,
    WAITING,
    Row,
    Worker,
)


GIVEN_UP = frozenset({UNKNOWN, FAILED, COMPENSATED})
DONE = frozenset({SUCCEEDED, SKIPPED})
ROLLED_BACK = frozenset({SagaState.COMPENSATED, SagaState.CANCELLED})
KEEP_DOUBT = frozenset(Told) - {Told.SUCCEEDED, Told.SKIPPED, Told.ABSENT}
GUARDS_OF_STATE = {
    RUNNING: "outcome checks the state",
    WAITING: "the end of a wait checks the state",
}
"""Whoever decided upon a row that was in this state, and found another."""


class Engine(Resuming):
    """A saga whose attempts begin, end, and end late."""

    def claim(self, index: int, fence: int) -> bool:
        """``transitions.claim``."""
        row = self.row(index)
        won = (
            (row.state == READY or not self.keeps("claim checks the state"))
            and (row.fence == fence or not self.keeps("claim checks the fence"))
            and (self.run.state in ACTIVE_SAGAS or not self.keeps("claim checks the run"))
        )
        if not won:
            return False
        require("a message starts one attempt at most", row.fence == fence, f"row {index}")
        require("nothing starts while the saga stands", self.run.state in ACTIVE_SAGAS)
        self.put(
            index,
            state=RUNNING,
            fence=row.fence + 1,
            attempt=row.attempt + 1,
            ended=0,
            sent=False,
            told=False,
        )
        self.workers.append(Worker(index, row.fence + 1, asking=row.asking))
        if self.is_backward(index):
            self.parties[index] = ""  # an answer names the step, not the request: none is that late
        return True

    def record_outcome(self, index: int, fence: int, told: Told) -> None:
        """``advance.record_outcome``."""
        self.take_in(index, fence, told, came_from=RUNNING)

    def take_in(self, index: int, fence: int, told: Told, *, came_from: str) -> None:
        """``advance.take_in``."""
        row = self.row(index)
        verdict = self._judge(index, told)
        to = verdict.state.value
        won = (
            (row.state == came_from or not self.keeps(GUARDS_OF_STATE[came_from]))
            and (row.fence == fence or not self.keeps("outcome checks the fence"))
            and (not row.answer or to in DONE or told is Told.DENIED or self._overlooks(to))
        )
        if won:
            first = row.fence == fence and not row.told
            require("an attempt has one outcome at most", first, f"row {index}")
            self._write(index, to, told, verdict.doubtful, verdict.asking)
            if to not in {READY, WAITING}:
                self.follow(index, verdict.state)
        elif (
            told is not Told.SUCCEEDED and row.answer and (row.state, row.fence) == (RUNNING, fence)
        ):
            self.take_in(index, fence, Told[row.answer], came_from=RUNNING)
        else:
            self._tell_late(index, told)

    def _judge(self, index: int, told: Told) -> Verdict:
        row = self.row(index)
        back = self.is_backward(index)
        wanted = SagaState.COMPENSATING if back else SagaState.RUNNING
        ends_in_its_way = told is Told.WAITS and self.run.state == SagaState.DEAD_LETTER
        return deciding.verdict(
            told,
            row.attempt,
            self.plan.undo_retries if back else self.plan.max_retries,
            row.doubtful and self.keeps("doubt stays"),
            self.run.state == wanted or ends_in_its_way,
            index in self.plan.reconcile,
            row.asking,
            row.asked + self.plan.asks_left_out,
        )

    def _overlooks(self, to: str) -> bool:
        return to == WAITING and not self.keeps("a wait looks for an early answer")

    def _tell_late(self, index: int, told: Told) -> None:
        if not self.keeps("only the winner lowers counters"):
            self.release_successors(index)
        if told is Told.SUCCEEDED and self.keeps("a late success is taken up"):
            self.take_up(index)

    def _write(self, index: int, to: str, told: Told, doubtful: bool, asking: bool) -> None:  # noqa: FBT001
        row = self.row(index)
        columns: dict[str, object] = {"state": to, "told": to != WAITING}
        columns["doubtful"] = doubtful if told in KEEP_DOUBT else False
        if told is Told.SKIPPED:
            columns["doubtful"] = row.doubtful
        if told is Told.DENIED:
            columns["answer"] = told.name
        if to == READY:
            columns["sent"] = False
            if asking:
                columns |= {"asking": True, "asked": row.asked + int(row.asking)}
        elif to != WAITING:
            columns["ended"] = self.now()
        self.put(index, **columns)

    def follow(self, index: int, state: StepState) -> None:
        """``advance.follow``."""
        pivot = index in self.plan.pivot
        if pivot and state == StepState.SUCCEEDED:
            self.run = self.run._replace(pivot_passed=True)
        back = self.is_backward(index)
        following = deciding.following(
            state,
            Direction.BACKWARD if back else Direction.FORWARD,
            index not in self.plan.best_effort,
            pivot,
            SagaState(self.run.state) if self.keeps("it turns back once") else SagaState.RUNNING,
            self.run.pivot_passed,
            self.plan.continue_undoing,
        )
        if following is Next.GO_ON:
            self._go_on(index, state)
        elif following is Next.SETTLE:
            self.settle()
        elif following is Next.TURN_BACK:
            self.turn_back(SagaState.COMPENSATED)
        elif following is Next.DEAD_LETTER:
            self.move(SagaState.DEAD_LETTER)

    def _go_on(self, index: int, state: StepState) -> None:
        succeeded = state in {StepState.SUCCEEDED, StepState.SKIPPED}
        back = self.is_backward(index)
        if back and succeeded:
            self.step_arrow(index - self.plan.size, COMPENSATED)
        if self.row(index).successors:
            self.release_successors(index)
            if not self.keeps("counters are lowered once"):
                self.release_successors(index)
            return
        self.run = self.run._replace(remaining=self.run.remaining - 1)
        if self.run.remaining:
            return
        if back:
            self.finish()
        else:
            self.move(SagaState.COMPLETED)

    def release_successors(self, index: int) -> None:
        """Lower the blockers of what follows; at 0 it is ready."""
        for following in self.row(index).successors:
            row = self.row(following)
            require("no counter falls below zero", row.blockers > 0, f"row {following}")
            last = row.blockers == 1 and row.state == PENDING
            self.put(following, blockers=row.blockers - 1)
            if last:
                self.put(following, state=READY, sent=True)

    # Late

    def take_up(self, index: int) -> None:
        """``late.take_up``."""
        if self.is_backward(index):
            return
        row = self.row(index)
        if row.asking and row.state in {READY, RUNNING}:
            if self.keeps("a late success answers a question"):
                self.succeed_late(index)
                self.follow(index, StepState.SUCCEEDED)
            return
        if row.state in GIVEN_UP:
            self.succeed_late(index)
        elif row.state != SUCCEEDED:
            return
        self._distrust_undo(index)
        if self.run.state in {*ROLLED_BACK, SagaState.COMPENSATING}:
            self._draw_consequences(index)
        elif self.run.state == SagaState.DEAD_LETTER and self.keeps(
            "an undo too early is given up"
        ):
            self._give_up_undo(index)

    def succeed_late(self, index: int) -> None:
        """``transitions.succeed_late``."""
        moment = self.now()
        self.step_arrow(
            index, SUCCEEDED, doubtful=False, asking=False, ended=moment, sent=False, told=True
        )

    def _distrust_undo(self, index: int) -> None:
        backward = self.plan.size + index
        if self.rows[backward] is not None and self.keeps("an undo too early leaves no doubt"):
            self.put(backward, doubtful=False)

    def _draw_consequences(self, index: int) -> None:
        is_pivot = index in self.plan.pivot
        if index in self.plan.no_compensation and not is_pivot:
            return
        if self.run.state in ROLLED_BACK:
            self.move(SagaState.COMPENSATING)
            self.run = self.run._replace(remaining=0)
        elif self.in_flight():
            return
        if is_pivot:
            self.run = self.run._replace(pivot_passed=True)
            self.move(SagaState.DEAD_LETTER)
        else:
            self._undo_late(index)

    def _give_up_undo(self, index: int) -> None:
        row = self.rows[self.plan.size + index]
        if row is not None and row.state in IN_FLIGHT:
            self._undo_again(self.plan.size + index)

    def _undo_late(self, index: int) -> None:
        backward = self.plan.size + index
        row = self.rows[backward]
        if row is None:
            new = Row(state=READY, position=len(self.backward()), sent=True)
            self.rows[backward] = new
            self.run = self.run._replace(remaining=self.run.remaining + 1)
        elif row.state in {*IN_FLIGHT, SUCCEEDED}:
            self._undo_again(backward)

    def _undo_again(self, backward: int) -> None:
        if self.row(backward).state == SUCCEEDED:
            self.put(backward, successors=())
            self.run = self.run._replace(remaining=self.run.remaining + 1)
        self.step_arrow(backward, READY, attempt=0, ended=0, sent=True, answer="")
