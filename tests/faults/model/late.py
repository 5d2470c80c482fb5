"""What an attempt says after it was given up. Names follow the originals."""

from sagas.states import SagaState
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
    Row,
)
from tests.faults.model.turning import Turning


ROLLED_BACK = frozenset({SagaState.COMPENSATED, SagaState.CANCELLED})
GIVEN_UP = frozenset({UNKNOWN, FAILED, COMPENSATED})
"""Of the ends of a step, those of which it was always known that they are not the last word."""


class Late(Turning):
    """A saga that hears of attempts that were given up."""

    def heard_from(self, index: int, fence: int) -> None:
        """``transitions.heard_from``."""
        row = self.row(index)
        if fence in row.at_large:
            self.put(index, at_large=tuple(f for f in row.at_large if f != fence))

    def ends_now(self, index: int) -> bool:
        """``late.ends_now``."""
        row = self.row(index)
        if self.is_backward(index):
            return False
        return row.state == READY or (row.state == RUNNING and row.is_reconciling)

    def take_up_late(self, index: int) -> None:
        """``late_success.undo_late_success``."""
        row = self.row(index)
        if self._is_over(index):
            return
        if row.state in IN_FLIGHT or row.state in {PENDING, READY}:
            self.put(index, in_doubt=True)
            return
        if row.state not in GIVEN_UP | {SUCCEEDED} and not self.keeps("every end hears of success"):
            return
        if row.state != SUCCEEDED:
            self.succeed_late(index)
        self._draw_consequences(index)

    def doubt(self, index: int) -> None:
        """``late.doubt``."""
        row = self.row(index)
        if self._is_over(index):
            return
        if row.is_reconciling and self.ends_now(index):
            self.put(index, state=READY, sent=row.sent or row.state == RUNNING)
        elif row.state in IN_FLIGHT or row.state in {PENDING, READY}:
            self.put(index, in_doubt=True)
        elif row.state == SKIPPED:
            self.put(index, in_doubt=True)
            self._draw_consequences(index)
        else:
            if row.state not in {SUCCEEDED, UNKNOWN}:
                self._end_late(index, UNKNOWN, in_doubt=True)
            self._draw_consequences(index)

    def _is_over(self, index: int) -> bool:
        return self.is_backward(index) or self.run.state == SagaState.RESOLVED

    def succeed_late(self, index: int) -> None:
        """``transitions.succeed_late``."""
        self._end_late(index, SUCCEEDED, in_doubt=False)

    def _end_late(self, index: int, to: str, *, in_doubt: bool) -> None:
        ended = self.now()
        self.step_arrow(index, to, in_doubt=in_doubt, ended=ended, sent=False, told=True)

    def _draw_consequences(self, index: int) -> None:
        row, run = self.row(index), self.run
        undo = self.plan.size + index
        if self.rows[undo] is not None and self.keeps("an undo too early leaves no doubt"):
            self.put(undo, in_doubt=False)
        if index in self.plan.pivot and row.state == SUCCEEDED:
            self.run = self.run._replace(pivot_passed=True)
        if run.state == SagaState.DEAD_LETTER:
            self._give_up_undo(index)
        elif run.state in {*ROLLED_BACK, SagaState.COMPENSATING} and self._is_undone(index):
            if run.state in ROLLED_BACK:
                self.move(SagaState.COMPENSATING)
                self.count(0)
            if self.keeps("an undo that is repeated keeps the order"):
                self.settle(again=index)
            elif not (self.in_flight() or self._stands_still()):
                self._undo_beside(undo)

    def _is_undone(self, index: int) -> bool:
        if index in self.plan.is_final(self.keeps) or index in self.held():
            return True
        return index not in self.plan.no_compensation

    def _give_up_undo(self, index: int) -> None:
        undo = self.rows[self.plan.size + index]
        if undo is not None and undo.state in IN_FLIGHT:
            self._undo_again(self.plan.size + index, sent=False)

    def _undo_again(self, undo: int, *, sent: bool) -> None:
        self.step_arrow(undo, READY, sent=sent, **self.fresh_life(undo))

    def _undo_beside(self, undo: int) -> None:
        """Without a mend: what is undone once more is ready at once, whatever else stands."""
        row = self.rows[undo]
        if row is None:
            self.rows[undo] = Row(state=READY, position=len(self.backward()), sent=True)
            self.count(self.run.remaining + 1)
        elif row.state in {*IN_FLIGHT, SUCCEEDED}:
            if row.state == SUCCEEDED:
                self.put(undo, successors=())
                self.count(self.run.remaining + 1)
            self._undo_again(undo, sent=True)
