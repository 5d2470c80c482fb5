"""Turning back: what is shut, what is undone and in which order. Names follow the originals."""

from sagas.states import SagaState
from tests.faults.model import deciding
from tests.faults.model.rows import Rows, require
from tests.faults.model.state import (
    FAILED,
    IN_FLIGHT,
    PENDING,
    READY,
    SHUT,
    SKIPPED,
    SUCCEEDED,
    UNKNOWN,
    WAITING,
    Row,
)


MAY_HAVE_HAPPENED = frozenset({SUCCEEDED, UNKNOWN})


class Turning(Rows):
    """A saga that can turn back."""

    def turn_back(self, ends_as: SagaState) -> None:
        """``compensate.turn_back``."""
        self.move(SagaState.COMPENSATING)
        self.run = self.run._replace(ends_as=ends_as.value)
        if self.keeps("turning back shuts what is ready"):
            self.shut_unstarted()
        self.settle()

    def pass_deadline(self) -> None:
        """``deadlines.end``."""
        critical = [step for step in range(self.plan.size) if step not in self.plan.best_effort]
        done = all(self.row(step).state in {SUCCEEDED, SKIPPED} for step in critical)
        if not done and self.keeps("a deadline looks at what is critical"):
            self.turn_back(SagaState.COMPENSATED)
            return
        if self.keeps("a deadline ends what is left"):
            self.leave_unfinished()
        self.run = self.run._replace(remaining=0)
        self.move(SagaState.COMPLETED)

    def leave_unfinished(self) -> None:
        """``transitions.leave_unfinished``: what runs is left, all else ends as it stands."""
        for index in range(self.plan.size):
            row = self.row(index)
            if row.state == WAITING or (row.state == READY and row.doubtful):
                self.put(index, state=UNKNOWN, asking=False, ended=self.now(), told=True)
            elif row.state == READY and row.attempt:
                self.put(index, state=FAILED, ended=self.now())
            elif row.state in {PENDING, READY}:
                self.put(index, state=SHUT)

    def shut_unstarted(self) -> None:
        """What is not under way is cancelled; between attempts it is unknown, or asked about."""
        for index in range(self.plan.size):
            row = self.row(index)
            if row.state == WAITING and self.keeps("turning back ends waits"):
                self._end_wait(index)
            if row.state not in {PENDING, READY}:
                continue
            if row.doubtful and index in self.plan.reconcile:
                if not row.asking:
                    self.put(index, asking=True, sent=True)
            elif row.doubtful:
                self.put(index, state=UNKNOWN, ended=self.now())
            else:
                self.put(index, state=SHUT)

    def _end_wait(self, index: int) -> None:
        """``transitions.end_waits``."""
        if index in self.plan.reconcile:
            self.put(index, state=READY, asking=True, sent=True, told=True)
        elif self.keeps("a wait that is given up may have happened"):
            self.put(index, state=UNKNOWN, ended=self.now(), told=True)
        else:
            self.put(index, state=SHUT, told=True)

    def in_flight(self) -> bool:
        """Whether a forward step is under way, waits, or is being asked about."""
        forward = (self.row(index) for index in range(self.plan.size))
        return any(r.state in IN_FLIGHT or (r.state == READY and r.asking) for r in forward)

    def past_pivot(self) -> bool:
        """``compensate.past_pivot``."""
        return any(self.row(pivot).state in MAY_HAVE_HAPPENED for pivot in self.plan.pivot)

    def settle(self) -> None:
        """``compensate.settle``."""
        if self.in_flight() and self.keeps("undoing waits for what is in flight"):
            return
        if self.past_pivot():
            self.move(SagaState.DEAD_LETTER)
            return
        chain = self.to_undo()
        if chain:
            require("there is one undo chain", not self.backward())
            self.run = self.run._replace(remaining=1)
            for position, step in enumerate(chain):
                following = chain[position + 1 : position + 2]
                self._insert(step, position, tuple(self.plan.size + f for f in following))
        else:
            self.finish()

    def to_undo(self) -> list[int]:
        """``compensate.to_undo``."""
        rows = [self.row(index) for index in range(self.plan.size)]
        happened = MAY_HAVE_HAPPENED if self.keeps("the unknown is undone") else {SUCCEEDED}
        order = deciding.undo_order(self.plan.following, tuple(row.ended for row in rows))
        chain = [
            index
            for index in order
            if rows[index].state in happened and index not in self.plan.no_compensation
        ]
        if not self.keeps("the last is undone first"):
            chain.reverse()
        return chain

    def _insert(self, step: int, position: int, successors: tuple[int, ...] = ()) -> None:
        ready = position == 0 or not self.keeps("one is undone after the other")
        self.rows[self.plan.size + step] = Row(
            state=READY if ready else PENDING,
            blockers=0 if ready else 1,
            successors=successors,
            position=position,
            sent=ready,
        )

    def finish(self) -> None:
        """``compensate.finish``."""
        failed = any(self.row(index).state != SUCCEEDED for index in self.backward())
        if self.past_pivot() or (failed and self.keeps("the end asks for every compensation")):
            self.move(SagaState.DEAD_LETTER)
        else:
            self.move(SagaState(self.run.ends_as))
