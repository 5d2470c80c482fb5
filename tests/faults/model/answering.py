"""What outside parties say of steps that wait, and waits that run out. Names follow the originals."""

from sagas.states import SagaState, StepState
from tests.faults.model.deciding import Told
from tests.faults.model.engine import Engine
from tests.faults.model.late import GIVEN_UP
from tests.faults.model.state import (
    COMPENSATED,
    READY,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    WAITING,
    Worker,
)


class Answering(Engine):
    """A saga whose steps outside parties complete."""

    def answer(self, index: int, told: Told) -> None:
        """``operations.complete_step`` and ``fail_step``."""
        row = self.rows[index]
        if row is None or self.run.state == SagaState.RESOLVED:
            return
        ended = row.state in {*GIVEN_UP, SUCCEEDED}
        if row.state == WAITING:
            self.apply_outcome(index, row.fence, told, came_from=WAITING)
        elif ended and not self.keeps("an answer is for a wait that has not ended"):
            self.apply_outcome(index, row.fence, told, came_from=row.state)
        elif told is Told.SUCCEEDED and self._may_have_happened(index):
            self._accept_late(index)
        elif row.state == RUNNING and not row.answer:
            self.put(index, answer=told.name)

    def _may_have_happened(self, index: int) -> bool:
        row = self.row(index)
        if not self.keeps("a late answer counts"):
            return False
        if row.state == READY:
            return row.in_doubt
        if row.state == RUNNING:
            return row.is_reconciling
        if self.is_backward(index) or row.answer:
            return False
        if row.state == SKIPPED:
            return row.waited
        return row.state in GIVEN_UP and (row.in_doubt or row.state != COMPENSATED)

    def _accept_late(self, index: int) -> None:
        if self.row(index).state == READY:
            self.succeed_late(index)
            self.follow(index, StepState.SUCCEEDED)
        else:
            self.take_up(index)

    def see_it_run_out(self, index: int, fence: int) -> None:
        """``recover.end_lost_attempts`` reads the row of a wait; what it does is for later."""
        self.workers.append(Worker(index, fence, did="saw"))

    def end_lost_wait(self, index: int, fence: int) -> None:
        """``advance.end_lost_attempt`` of such a row."""
        told = Told.SILENCE_AGAIN if self.is_backward(index) else Told.SILENCE
        row = self.row(index)
        still_lost = (row.state, row.fence) == (WAITING, fence)
        if still_lost or not self.keeps("the end of a wait checks the state"):
            self.apply_outcome(index, fence, told, came_from=WAITING)
