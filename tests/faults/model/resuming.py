"""A dead letter that goes on. Names follow the originals."""

from sagas.states import SagaState
from tests.faults.model import deciding
from tests.faults.model.late import Late
from tests.faults.model.state import IN_FLIGHT, READY


class Resuming(Late):
    """A saga that can be retried."""

    def is_turned(self) -> bool:
        """``resume.is_turned``."""
        return bool(self.backward()) or (
            bool(self.run.outcome_when_undone) and not self.past_pivot()
        )

    def is_held(self) -> bool:
        """``predicates.is_held``."""
        return self.run.state == SagaState.DEAD_LETTER and self.is_turned() and bool(self.held())

    def retry_saga(self) -> None:
        """``operations.retry_saga``."""
        self.run = self.run._replace(retries=self.run.retries + 1)
        self.resume()

    def resume(self) -> None:
        """``resume.resume``."""
        undoing = self.is_turned()
        self.move(SagaState.COMPENSATING if undoing else SagaState.RUNNING)
        if not self.keeps("a retry resets what failed"):
            return
        if undoing:
            self.settle(anew=True)
        else:
            self.run = self.run._replace(outcome_when_undone="")
            self._resume_forward()

    def _resume_forward(self) -> None:
        steps = range(self.plan.size)
        critical = tuple(step not in self.plan.best_effort for step in steps)
        states = tuple(self.row(step).state for step in steps)
        follow = tuple(bool(self.row(step).follow) for step in steps)
        places = deciding.places(self.plan.following, states, critical, follow)
        for step, place in places.items():
            anew = self.row(step).state not in IN_FLIGHT
            self.reset(step, place.state.value, place.pending_predecessors, anew=anew)
        awaited = [step for step in places if not follow[step]]
        self.count(sum(not self.plan.following[step] for step in awaited))
        if not awaited:
            self.move(SagaState.COMPLETED)
        for index, row in enumerate(self.rows):
            if row is not None and row.state == READY:
                self.put(index, sent=True)
