"""Turning back: what is shut, what is undone and when, and how it ends. Names follow the originals."""

from sagas.states import SagaState
from tests.faults.model.chain import MAY_HAVE_HAPPENED, NOBODY, OVER, Chain
from tests.faults.model.state import (
    FAILED,
    IN_FLIGHT,
    PENDING,
    READY,
    RUNNING,
    SHUT,
    SKIPPED,
    SUCCEEDED,
    UNKNOWN,
    WAITING,
)


class Turning(Chain):
    """A saga that can turn back."""

    def turn_back(self, outcome_when_undone: SagaState, *, anew: bool = False) -> None:
        """``compensate.turn_back``."""
        self.move(SagaState.COMPENSATING)
        self.run = self.run._replace(outcome_when_undone=outcome_when_undone.value)
        if self.keeps("turning back shuts what is ready"):
            self.cancel_unstarted()
        self.settle(anew=anew)

    def pass_deadline(self) -> None:
        """``deadlines.end``."""
        critical = [step for step in range(self.plan.size) if step not in self.plan.best_effort]
        done = all(self.row(step).state in {SUCCEEDED, SKIPPED} for step in critical)
        if not done and self.keeps("a deadline looks at what is critical"):
            self.turn_back(SagaState.COMPENSATED)
            return
        if self.keeps("a deadline ends what is left"):
            self.leave_unfinished()
        self.count(0)
        self.move(SagaState.COMPLETED)

    def leave_unfinished(self) -> None:
        """``transitions.leave_unfinished``: what runs is left, all else ends as it stands."""
        for index, row in enumerate(self.forward()):
            if row.follow:
                continue
            if row.state == RUNNING:
                self.put(index, follow="left")
            elif row.state == WAITING or (row.state in {PENDING, READY} and row.in_doubt):
                self.step_arrow(index, UNKNOWN, ended=self.now(), told=True)
            elif row.state in {PENDING, READY} and row.attempt:
                self.step_arrow(index, FAILED, ended=self.now())
            elif row.state in {PENDING, READY}:
                self.step_arrow(index, SHUT, ended=0)

    def cancel_unstarted(self) -> None:
        """What is not under way is cancelled; between attempts it is unknown, or asked about."""
        for index, row in enumerate(self.forward()):
            if row.state == WAITING and self.keeps("turning back ends waits"):
                self._end_wait(index)
            elif row.state == READY and row.in_doubt and index in self.plan.reconcile:
                if not row.is_reconciling:
                    self.step_arrow(index, READY, reconcile_attempts=0, sent=True)
            elif row.state in {PENDING, READY} and row.in_doubt:
                self.step_arrow(index, UNKNOWN, ended=self.now())
            elif row.state in {PENDING, READY}:
                self.step_arrow(index, SHUT, ended=0)

    def _end_wait(self, index: int) -> None:
        """``transitions.end_waits``."""
        row = self.row(index)
        if self.keeps("a party is at large"):
            self.put(index, at_large=(*row.at_large, row.fence))
        if index in self.plan.reconcile:
            self.step_arrow(index, READY, reconcile_attempts=0, sent=True, told=True)
        elif self.keeps("a wait that is given up may have happened"):
            self.step_arrow(index, UNKNOWN, ended=self.now(), told=True)
        else:
            self.put(index, state=SHUT, told=True)

    def in_flight(self) -> bool:
        """Whether a forward step is under way, waits, or is being asked about."""
        return any(
            row.state in IN_FLIGHT or (row.state == READY and row.is_reconciling)
            for row in self.forward()
        )

    def past_pivot(self) -> bool:
        """``decisions.may_be_past_pivot``."""
        return self.run.pivot_passed or any(
            self.row(step).state in MAY_HAVE_HAPPENED for step in self.plan.is_final(self.keeps)
        )

    def held(self) -> list[int]:
        """``compensate.held``."""
        if not self.keeps("a hold is kept whatever turns back"):
            return []
        rows = enumerate(self.forward())
        return [index for index, row in rows if row.state == UNKNOWN and row.holds]

    def _stands_still(self) -> bool:
        if self.past_pivot() or self.held():
            self.move(SagaState.DEAD_LETTER)
            return True
        return False

    def settle(self, *, again: int = NOBODY, anew: bool = False) -> None:
        """``compensate.begin_undo_if_idle``."""
        if self.in_flight() and self.keeps("undoing waits for what is in flight"):
            return
        strays = any(row.state in {PENDING, READY} for row in self.forward())
        if strays and self.keeps("strays are shut before undoing"):
            self.cancel_unstarted()
            if self.in_flight():
                return
        if not self.past_pivot():
            self._doubt_skipped()
        if self._stands_still():
            return
        wanted = self._wanted()
        if not anew:
            given_up = {*self._undo_failed()} - {again}
            wanted = [step for step in wanted if step not in given_up]
        if wanted or any(self.row(index).state in IN_FLIGHT for index in self.backward()):
            self.weave(wanted, again=again, anew=anew)
        else:
            self.finish()

    def _doubt_skipped(self) -> None:
        """``transitions.doubt_skipped``."""
        for index, row in enumerate(self.forward()):
            if row.state == SKIPPED and row.in_doubt:
                self.step_arrow(index, UNKNOWN, ended=self.now())

    def _wanted(self) -> list[int]:
        there = self.backward()
        if there and not self.keeps("an end looks at the steps themselves"):
            size = self.plan.size
            return [index - size for index in there if self.row(index).state not in OVER]
        return self.to_undo()

    def _undo_failed(self) -> list[int]:
        size = self.plan.size
        return [i - size for i in self.backward() if self.row(i).state in {FAILED, UNKNOWN}]

    def keep_order(self, index: int) -> None:
        """``compensate.keep_order``."""
        row = self.row(index)
        behind = any(self.row(i).position <= row.position for i in row.successors)
        undoing = self.run.state == SagaState.COMPENSATING and self.is_backward(index)
        if undoing and behind and self.keeps("an undo that is tried again keeps the order"):
            self.settle()

    def finish(self) -> None:
        """``compensate.finish``."""
        if self.in_flight() or self._stands_still():
            return
        standing = self._wanted()
        failed = self._undo_failed()
        overlooked = [step for step in standing if step not in failed]
        if overlooked:
            self.weave(overlooked)
        elif standing and self.keeps("the end asks for every compensation"):
            self.move(SagaState.DEAD_LETTER)
        else:
            for step in failed:
                self.leave_out(self.plan.size + step)
            self.move(SagaState(self.run.outcome_when_undone))
