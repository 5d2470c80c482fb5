"""The guarded transitions of the package, on frozen rows. Names follow the originals.

Each guard can be taken out (``Plan.without``), to show that the search would miss it.
"""

from sagas.engine.decisions import Next, Reconciliation, Verdict, retries_exhausted
from sagas.states import ACTIVE_SAGAS, Direction, SagaState, StepState
from tests.faults.model import deciding
from tests.faults.model.deciding import Told
from tests.faults.model.resuming import Resuming
from tests.faults.model.rows import require
from tests.faults.model.state import (
    COMPENSATED,
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
from tests.faults.model.world import require_its_turn


ENDS_WELL = frozenset({SUCCEEDED, SKIPPED})
LEAVES_DOUBT = frozenset({Told.NO_ANSWER, Told.WAITS})
"""What a process says of its own attempt, of which nobody knows then whether it happened."""

NOT_THERE = frozenset({Told.ABSENT, Told.DENIED})
GUARDS_OF_STATE = {
    RUNNING: "outcome checks the state",
    WAITING: "the end of a wait checks the state",
}
"""Whoever decided upon a row that was in this state, and found another."""


class Engine(Resuming):
    """A saga whose attempts begin and end."""

    def goes_its_way(self, index: int) -> bool:
        """``transitions.direction.goes_its_way``."""
        row, state = self.row(index), self.run.state
        if not self.keeps("a claim looks at the direction"):
            return state in ACTIVE_SAGAS or state == SagaState.COMPLETED
        if self.is_backward(index):
            return state == SagaState.COMPENSATING
        return (
            state == SagaState.RUNNING
            or (row.is_reconciling and state == SagaState.COMPENSATING)
            or (bool(row.follow) and state == SagaState.COMPLETED)
        )

    def claim(self, index: int, fence: int) -> bool:
        """``transitions.claim``."""
        row = self.row(index)
        won = (
            (row.state == READY or not self.keeps("claim checks the state"))
            and (row.fence == fence or not self.keeps("claim checks the fence"))
            and (self.goes_its_way(index) or not self.keeps("claim checks the run"))
        )
        if not won:
            return False
        require("a message starts one attempt at most", row.fence == fence, f"row {index}")
        goes_on = self.run.state in ACTIVE_SAGAS or bool(row.follow)
        require("nothing starts while the saga stands", goes_on)
        self._require_its_turn(index)
        self.put(
            index,
            state=RUNNING,
            fence=row.fence + 1,
            attempt=row.attempt + 1,
            ended=0,
            sent=False,
            told=False,
        )
        self.workers.append(Worker(index, row.fence + 1, row.is_reconciling, self._begins(index)))
        if self.is_backward(index):
            self.parties[index] = ""  # an answer names the step, not the request: none is that late
        return True

    def _begins(self, index: int) -> str:
        row = self.row(index)
        if index in self.plan.conditions and not row.is_reconciling:
            asked = row.met and self.keeps("a condition is asked once")
            return "" if asked else "wonders"
        return "resumes" if row.progress else ""

    def _require_its_turn(self, index: int) -> None:
        if self.is_backward(index):
            step = index - self.plan.size
            nobody_knows = self.row(step).holds and self.row(step).state == UNKNOWN
            require("what holds is left to a human", not nobody_knows, f"step {step}")
            require_its_turn(self, step)

    def record_outcome(self, index: int, fence: int, told: Told, *, reconciling: bool) -> None:
        """``advance.record_outcome``."""
        self.apply_outcome(index, fence, told, came_from=RUNNING, reconciling=reconciling)

    def apply_outcome(
        self, index: int, fence: int, told: Told, *, came_from: str, reconciling: bool = False
    ) -> None:
        """``advance.apply_outcome``."""
        row = self.row(index)
        verdict = self._judge(index, told)
        to = verdict.state.value
        won = (
            (row.state == came_from or not self.keeps(GUARDS_OF_STATE[came_from]))
            and (row.fence == fence or not self.keeps("outcome checks the fence"))
            and (not row.answer or to in ENDS_WELL or told is Told.DENIED or self._overlooks(to))
        )
        if won:
            first = row.fence == fence and not row.told
            require("an attempt has one outcome at most", first, f"row {index}")
            self._write(index, told, verdict)
            if to not in {READY, WAITING}:
                self.follow(index, verdict.state)
            elif verdict.is_retry:
                self.keep_order(index)
        elif (
            told is not Told.SUCCEEDED and row.answer and (row.state, row.fence) == (RUNNING, fence)
        ):
            self.apply_outcome(index, fence, Told[row.answer], came_from=RUNNING)
        else:
            self._tell_late(index, fence, told, reconciling=reconciling)

    def _judge(self, index: int, told: Told) -> Verdict:
        row = self.row(index)
        back = self.is_backward(index)
        verdict = deciding.verdict(
            told,
            row.attempt,
            self.plan.undo_retries if back else self.plan.max_retries,
            row.in_doubt and self.keeps("doubt stays"),
            self._goes_on(index, told),
            index in self.plan.reconcile,
            self._reconcile_attempts(row),
            told in NOT_THERE and bool(row.at_large) and self.keeps("no is final at the end alone"),
        )
        if verdict.is_retry and row.follow == "left":
            reconciliation = Reconciliation(possible=index in self.plan.reconcile)
            return retries_exhausted(in_doubt=verdict.in_doubt, reconciliation=reconciliation)
        return verdict

    def _reconcile_attempts(self, row: Row) -> int | None:
        attempts = row.reconcile_attempts
        return None if attempts is None else attempts + self.plan.asks_left_out

    def _goes_on(self, index: int, told: Told) -> bool:
        state = self.run.state
        if state == SagaState.DEAD_LETTER and told is Told.WAITS:
            return True
        if self.is_backward(index):
            return state == SagaState.COMPENSATING
        follows = bool(self.row(index).follow) and state == SagaState.COMPLETED
        return state == SagaState.RUNNING or follows

    def _overlooks(self, to: str) -> bool:
        return to == WAITING and not self.keeps("a wait looks for an early answer")

    def _tell_late(self, index: int, fence: int, told: Told, *, reconciling: bool) -> None:
        if not self.keeps("only the winner lowers counters"):
            self.release_successors(index)
        if told is not Told.WAITS:
            self.heard_from(index, fence)
        if told is Told.SUCCEEDED and self.keeps("a late success is taken up"):
            self.take_up(index)
        elif told in LEAVES_DOUBT and not reconciling and self.keeps("a late doubt is taken up"):
            self.doubt(index)

    def take_up(self, index: int) -> None:
        """``advance.accept_late_success``."""
        if not self.ends_now(index):
            self.take_up_late(index)
        elif self.keeps("a late success answers a question"):
            self.succeed_late(index)
            self.follow(index, StepState.SUCCEEDED)

    def _write(self, index: int, told: Told, verdict: Verdict) -> None:
        row, to = self.row(index), verdict.state.value
        columns: dict[str, object] = {"state": to, "told": to != WAITING}
        columns["in_doubt"] = verdict.in_doubt
        given_up = told is Told.LOST and not row.is_reconciling
        asked_in_vain = told is Told.SILENCE or (told is Told.WAITS and to != WAITING)
        if given_up or (asked_in_vain and self.keeps("a party is at large")):
            columns["at_large"] = (*row.at_large, row.fence)
        if told is Told.DENIED:
            columns["answer"] = told.name
        if to == WAITING:
            columns["waited"] = True
        elif to == READY:
            columns["sent"] = False
            if verdict.is_reconciling:
                before = row.reconcile_attempts
                columns["reconcile_attempts"] = 0 if before is None else before + 1
        else:
            columns["ended"] = self.now()
        self.put(index, **columns)

    def follow(self, index: int, state: StepState) -> None:
        """``consequences.apply_consequences``."""
        self._pass_pivot(index, state)
        row = self.row(index)
        if self.run.state == SagaState.COMPLETED or (
            row.follow and self.run.state != SagaState.COMPENSATING
        ):
            return
        turns_twice = not self.keeps("it turns back once")
        following = deciding.following(
            state,
            Direction.BACKWARD if self.is_backward(index) else Direction.FORWARD,
            index not in self.plan.best_effort,
            index in self.plan.is_final(self.keeps),
            SagaState.RUNNING if turns_twice else SagaState(self.run.state),
            self.run.pivot_passed,
            self.plan.continue_undoing,
            row.holds and self.keeps("a hold is kept whatever turns back"),
        )
        if following is Next.GO_ON:
            self._go_on(index, state)
        elif following is Next.BEGIN_UNDO_WHEN_IDLE:
            self.settle()
        elif following is Next.TURN_BACK:
            self.turn_back(SagaState.COMPENSATED)
        elif following is Next.DEAD_LETTER:
            self.move(SagaState.DEAD_LETTER)

    def _pass_pivot(self, index: int, state: str) -> None:
        skipped = state == SKIPPED and self.keeps("a skipped pivot is passed")
        if index in self.plan.pivot and (state == SUCCEEDED or skipped):
            self.run = self.run._replace(pivot_passed=True)

    def _go_on(self, index: int, state: StepState) -> None:
        back = self.is_backward(index)
        if back and state in ENDS_WELL:
            self.mark_undone(index)
        if self.row(index).successors:
            self.release_successors(index)
            if not self.keeps("counters are lowered once"):
                self.release_successors(index)
            return
        self.count(self.run.remaining - 1)
        if self.run.remaining:
            return
        if back:
            self.finish()
        else:
            self.move(SagaState.COMPLETED)

    def mark_undone(self, undo: int) -> None:
        """``transitions.mark_undone``."""
        step = undo - self.plan.size
        if self.row(step).state in {SUCCEEDED, UNKNOWN}:
            self.step_arrow(step, COMPENSATED)

    def release_successors(self, index: int) -> None:
        """Lower ``pending_predecessors`` of what follows; at 0 it is ready."""
        for following in self.row(index).successors:
            row = self.row(following)
            require("no counter falls below zero", row.pending_predecessors > 0, f"row {following}")
            last = row.pending_predecessors == 1 and row.state == PENDING
            self.put(following, pending_predecessors=row.pending_predecessors - 1)
            if last:
                self.put(following, state=READY, sent=True)
