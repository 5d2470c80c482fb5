"""The operator's retry of a dead letter. Names follow the originals."""

from sagas.states import SagaState
from tests.faults.model import deciding
from tests.faults.model.state import IN_FLIGHT, PENDING, READY, Row
from tests.faults.model.turning import Turning


class Resuming(Turning):
    """A saga that can be retried."""

    def retry_saga(self) -> None:
        """``operations.retry_saga``."""
        undoing = bool(self.backward())
        self.run = self.run._replace(retries=self.run.retries + 1)
        self.move(SagaState.COMPENSATING if undoing else SagaState.RUNNING)
        if not self.keeps("a retry resets what failed"):
            return
        if undoing:
            self._resume_undo()
        else:
            self.run = self.run._replace(ends_as="")
            self._resume_forward()
        for index, row in enumerate(self.rows):
            if row is not None and row.state == READY:
                self.put(index, sent=True)

    def _resume_forward(self) -> None:
        steps = range(self.plan.size)
        critical = tuple(step not in self.plan.best_effort for step in steps)
        states = tuple(self.row(step).state for step in steps)
        places = deciding.places(self.plan.following, states, critical)
        for step, place in places.items():
            self._reset(step, place.state.value, place.blockers)
        last = sum(not self.plan.following[step] for step in places)
        self.run = self.run._replace(remaining=last)
        if not places:
            self.move(SagaState.COMPLETED)

    def _resume_undo(self) -> None:
        there = len(self.backward())
        planned = []
        for place, step in enumerate(self.to_undo(), start=there):
            planned.append(self.plan.size + step)
            if self.rows[planned[-1]] is None:
                self.rows[planned[-1]] = Row(position=place)
        in_flight = [index for index in planned if self.row(index).state in IN_FLIGHT]
        chain = [index for index in planned if index not in in_flight]
        for index in in_flight:
            self.put(index, blockers=0, successors=tuple(chain[:1]))
        for place, index in enumerate(chain):
            blockers = 1 if place else len(in_flight)
            self._reset(index, PENDING if blockers else READY, blockers)
            self.put(index, successors=tuple(chain[place + 1 : place + 2]))
        self.run = self.run._replace(remaining=1 if chain else len(in_flight))
        if not self.run.remaining:
            self.finish()

    def _reset(self, index: int, to: str, blockers: int) -> None:
        if self.row(index).state != to:
            self.step_arrow(index, to, attempt=0, ended=0, answer="")
            if self.keeps("a retry acts and does not ask"):
                self.put(index, asking=False, asked=0)
        self.put(index, blockers=blockers)
