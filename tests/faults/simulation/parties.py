"""Outside parties: what sagas ask of them, what they do, and what they say, early, late and twice."""

from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import complete_step, fail_step
from sagas.states import IN_FLIGHT_STEPS
from tests.faults.simulation.sagas import Receipt
from tests.faults.simulation.world import World


ASKED, DONE, DENIED = "asked", "done", "denied"


@dataclass
class Request:
    """What was asked under one name: of its key, it is decided once; to undo, each time."""

    handler: str
    key: str
    step_id: UUID
    decided: str = ASKED


@dataclass
class Parties:
    """Everybody whom the handlers of one life ask."""

    world: World
    requests: dict[str, Request] = field(default_factory=dict)

    def ask(self, handler: str, key: str, step_id: UUID) -> None:
        """Leave it to them; a key that was done is not done again, unless it undoes."""
        before = self.requests.get(handler)
        if before is None or before.decided == DENIED or handler.startswith("undo "):
            self.requests[handler] = Request(handler, key, step_id)

    def forget(self, handler: str) -> None:
        """An undoing is tried again: no answer to the request before is still on its way."""
        self.requests.pop(handler, None)

    def move(self, move: str, which: int, run: SagaRun) -> None:
        """Let one of them do as a scenario says."""
        if move == "outside acts":
            self.act(which)
        elif move == "outside denies":
            self.deny(which)
        else:
            self.say(which, run)

    def act(self, which: int) -> None:
        """One that was asked does it."""
        for request in self._some(which, ASKED):
            step = StepRun.objects.get(pk=request.step_id)
            waited_for = step.state in IN_FLIGHT_STEPS and not step.asking
            undoes = request.handler.startswith("undo ")
            effect = self.world.undo if undoes else self.world.do
            effect(request.handler, request.key, given_up=not waited_for)
            request.decided = DONE

    def deny(self, which: int) -> None:
        """One that was asked will not do it."""
        for request in self._some(which, ASKED):
            request.decided = DENIED

    def say(self, which: int, run: SagaRun) -> None:
        """One says what it decided, for the first time or once more."""
        for request in self._some(which, DONE, DENIED):
            undoes = request.handler.startswith("undo ")
            name = request.handler.replace(" ", "_")
            with suppress(ActionNotAllowed):
                if request.decided == DENIED:
                    fail_step(run, name, error="denied", reason="asked")
                else:
                    self.world.told_late(request.key)
                    result = None if undoes else Receipt(request.handler)
                    complete_step(run, name, result=result, reason="asked")

    def _some(self, which: int, *decided: str) -> list[Request]:
        found = [request for request in self.requests.values() if request.decided in decided]
        return found[which % len(found) :][:1] if found else []

    def act_all(self) -> None:
        """Everybody does what they were asked."""
        while self._some(0, ASKED):
            self.act(0)

    def say_all(self, run: SagaRun) -> None:
        """Everybody says what they decided, twice."""
        for number in range(2 * len(self.requests)):
            self.say(number, run)
