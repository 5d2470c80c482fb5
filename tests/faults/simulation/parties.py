"""Outside parties: what sagas ask of them, what they do, and what they say, early, late and twice."""

from contextlib import suppress
from dataclasses import dataclass, field

from sagas import PermanentError
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun
from sagas.operations import complete_step, fail_step
from tests.faults.simulation.sagas import Receipt
from tests.faults.simulation.world import World


ASKED, DONE, DENIED = "asked", "done", "denied"


@dataclass
class Request:
    """What was asked under one name: of its key, it is decided once; to undo, each time."""

    handler: str
    key: str
    fence: int
    """Of the attempt that asked, which names the request that is answered."""
    awake: bool
    waited_for: bool
    """Whoever asked waits for the answer; else it told of its doubt itself."""
    decided: str = ASKED

    @property
    def undoes(self) -> bool:
        """Whether it asks to undo."""
        return self.handler.startswith("undo ")


@dataclass
class Parties:
    """Everybody whom the handlers of one life ask."""

    world: World
    requests: dict[str, Request] = field(default_factory=dict)

    def ask(self, handler: str, key: str, fence: int, *, awake: bool, waited_for: bool) -> None:
        """Leave it to them; a key that was done is not done again, unless it undoes."""
        before = self.requests.get(handler)
        if (
            before is not None and before.key != key
        ):  # of an earlier life, which may be answered still
            self.requests[f"{handler}, key {before.key}"] = self.requests.pop(handler)
            before = None
        if before is None or before.decided == DENIED or before.undoes:
            self.requests[handler] = Request(handler, key, fence, awake, waited_for)
        else:
            before.waited_for |= waited_for
            if before.decided == ASKED:
                before.fence = fence

    def forget(self, handler: str) -> None:
        """An undoing is tried again: who was asked before does it no more, but may have answered."""
        before = self.requests.pop(handler, None)
        if before is not None and before.decided != ASKED:
            self.requests[f"{handler}, request {before.fence}"] = before

    def close(self, key: str) -> None:
        """Who is asked whether it did says no, and will not do what nobody waits for."""
        for request in self.requests.values():
            ours = request.key == key and not request.undoes
            if ours and not request.waited_for and request.decided == ASKED:
                request.decided = DENIED

    def move(self, move: str, which: int, run: SagaRun) -> None:
        """Let one of them do as a scenario says."""
        if move == "outside acts":
            self.act(which)
        elif move == "outside denies":
            for request in self._some(which, ASKED):
                request.decided = DENIED
        else:
            self.say(which, run)

    def act(self, which: int) -> None:
        """One that was asked does it, if it may still be done."""
        for request in self._some(which, ASKED):
            effect = self.world.undo if request.undoes else self.world.do
            try:
                effect(request.handler.removeprefix("undo "), request.key, awake=False)
            except PermanentError:
                request.decided = DENIED
            else:
                request.decided = DONE

    def say(self, which: int, run: SagaRun) -> None:
        """One says what it decided, for the first time or once more."""
        for request in self._some(which, DONE, DENIED):
            name = request.handler.replace(" ", "_")
            with suppress(ActionNotAllowed):
                if request.decided == DENIED:
                    fail_step(run, name, error="denied", reason="asked", request=request.fence)
                else:
                    self.world.tell(request.key)
                    result = None if request.undoes else Receipt(request.handler)
                    complete_step(run, name, result=result, reason="asked", request=request.fence)

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
