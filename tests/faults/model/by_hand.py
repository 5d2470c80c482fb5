"""What operators decide, and workers that cannot run a step. Names follow the originals."""

from sagas.states import ACTIVE_SAGAS, SagaState, StepState
from tests.faults.model.answering import Answering
from tests.faults.model.state import (
    FAILED,
    PENDING,
    READY,
    RUNNING,
    SHUT,
    SKIPPED,
    UNKNOWN,
    WAITING,
)


UNSUCCESSFUL = frozenset({FAILED, UNKNOWN})
UNCLAIMED = frozenset({READY, WAITING})
NOT_BEGUN = frozenset({PENDING, READY, FAILED, SKIPPED, SHUT})


class ByHand(Answering):
    """A saga that people and old workers meddle with."""

    def blocking_steps(self) -> list[int]:
        """``predicates.blocking_steps``."""
        if not self.is_turned():
            critical = (s for s in range(self.plan.size) if s not in self.plan.best_effort)
            return [step for step in critical if self.row(step).state in UNSUCCESSFUL]
        failed = [index for index in self.backward() if self.row(index).state in UNSUCCESSFUL]
        return self.held() or failed

    def is_open_end(self, index: int) -> bool:
        """``predicates.is_open_end``."""
        state = self.row(index).state
        left_out = state == SHUT and self.run.state == SagaState.COMPLETED
        return state in UNSUCCESSFUL or left_out

    def may_be_past_pivot(self) -> bool:
        """``decisions.may_be_past_pivot`` with ``begun_counts``."""
        return self.run.pivot_passed or any(
            self.row(step).state not in NOT_BEGUN or self.row(step).in_doubt
            for step in self.plan.is_final(self.keeps)
        )

    def means(self, step: int) -> int:
        """``addressing.rows_by_name``: which row the name of a step means."""
        if self.is_held() and step in self.blocking_steps():
            return step
        undo = self.plan.size + step
        return step if self.rows[undo] is None else undo

    def may_skip(self, index: int) -> bool:
        """``operations.steps._skip_refusal``."""
        if self.rows[index] is None or self.means(index % self.plan.size) != index:
            return False
        state = SagaState(self.run.state)
        back = self.is_backward(index)
        if state == SagaState.DEAD_LETTER:
            return self.is_open_end(index) and index in self.blocking_steps()
        if state not in ACTIVE_SAGAS | {SagaState.COMPLETED}:
            return False
        ended = self.is_open_end(index) and (back or state != SagaState.COMPENSATING)
        return ended or self.row(index).state in UNCLAIMED

    def skip_step(self, index: int, *, with_result: bool) -> None:
        """``operations.skip_step``."""
        before = self.row(index).state
        back = self.is_backward(index)
        to = StepState.SUCCEEDED if with_result or back else StepState.SKIPPED
        ended = self.now()
        self.step_arrow(index, to.value, in_doubt=False, ended=ended, sent=False, told=True)
        if self.run.state == SagaState.DEAD_LETTER:
            if back:
                self.mark_undone(index)
            else:
                self._pass_pivot(index, to)
            if not self.blocking_steps():
                self.resume()
        elif before in UNCLAIMED:
            self.follow(index, to)
        elif back:
            self.mark_undone(index)
        else:
            self._pass_pivot(index, to)

    def reopen_step(self, index: int) -> None:
        """``operations.retry_step`` of a best-effort step."""
        self.step_arrow(index, READY, sent=True, **{**self.fresh_life(index), "follow": "hand"})

    def may_turn_back(self) -> bool:
        """``operations.turning_back``: of a dead letter."""
        if self.run.state != SagaState.DEAD_LETTER or self.may_be_past_pivot():
            return False
        return self.is_held() or not self.backward()

    def compensate_saga(self) -> None:
        """``operations.compensate_saga`` of a dead letter."""
        held = self.is_held()
        outcome_when_undone = (
            SagaState(self.run.outcome_when_undone) if held else SagaState.COMPENSATED
        )
        self.release_holds()
        self.turn_back(outcome_when_undone, anew=held)

    def cancel_saga(self) -> None:
        """``operations.cancel_saga``."""
        self.release_holds()
        self.turn_back(SagaState.CANCELLED)

    def release_holds(self) -> None:
        """``transitions.release_holds``."""
        for index, row in enumerate(self.forward()):
            if row.state == UNKNOWN and row.holds:
                self.put(index, holds=False)

    def postpone(self, index: int, fence: int, *, reconciling: bool) -> None:
        """``advance.postpone``."""
        row = self.row(index)
        if (row.state, row.fence) != (RUNNING, fence) or row.answer:
            return
        self.put(index, state=READY, attempt=row.attempt - 1, sent=False, told=True)
        turned = self.run.state == SagaState.COMPENSATING and not self.is_backward(index)
        if turned and not reconciling and self.keeps("what is put back is shut"):
            self.cancel_unstarted()
            self.settle()
        else:
            self.keep_order(index)

    def beat(self, index: int, fence: int) -> None:
        """``transitions.record_heartbeat``."""
        row = self.row(index)
        mine = (row.state, row.fence) == (RUNNING, fence)
        if mine and (self.goes_its_way(index) or self.run.state == SagaState.DEAD_LETTER):
            self.put(index, progress=True)

    def keep_prepared(self, index: int, fence: int) -> bool:
        """``transitions.keep_prepared``."""
        row = self.row(index)
        if (row.state, row.fence) != (RUNNING, fence):
            return False
        self.put(index, met=True)
        return True
