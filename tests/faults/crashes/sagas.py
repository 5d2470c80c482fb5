"""The saga of the crash matrix: plain steps around an atomic one, and all of them undone."""

import os
import signal
from dataclasses import dataclass
from uuid import uuid4

from django.contrib.auth.models import Group

from sagas import PermanentError, Saga, step
from tests.faults.crashes.points import Boundary, Place, reach
from tests.flows import ledger


@dataclass(frozen=True)
class Crash:
    """A file outside the system to tell, and which step refuses or dies in its first attempt."""

    ledger: str
    refuses: str = ""
    dies: str = ""


RETRIED = {"max_retries": 5, "retry_backoff": False, "default_retry_delay": 0.1}


class Crashes(Saga[Crash]):
    """first → booked (atomic) → third → last; several attempts each."""

    class Meta:
        label = "crashes.Crashes"
        in_place = False  # a message between any two steps: each is a boundary
        step_defaults = RETRIED

    def act(self, name: str, direction: str = "forward", *, in_row: bool = False) -> str:
        """Have an effect, between two points at which a fault may strike."""
        if self.input.dies == name and self.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.input.refuses == name:
            raise PermanentError("refused", code="REFUSED")
        place = Place(run_id=self.run.id, step=name, direction=direction)
        reach(Boundary.BEFORE_EFFECT, place)
        if in_row:
            Group.objects.create(name=f"{self.idempotency_key} {uuid4()}")
        else:
            ledger.write(self.input.ledger, name, direction, self.idempotency_key, self.attempt)
        reach(Boundary.AFTER_EFFECT, place)
        return name

    @step
    def first(self) -> str:
        return self.act("first")

    @first.compensation(max_retries=5)
    def undo_first(self, result: str | None) -> None:
        self.act("first", "backward")

    @step(atomic=True)
    def booked(self) -> str:
        return self.act("booked", in_row=True)

    @booked.compensation(max_retries=5, atomic=True)
    def undo_booked(self, result: str | None) -> None:
        self.act("booked", "backward", in_row=True)

    @step
    def third(self) -> str:
        return self.act("third")

    @third.compensation(max_retries=5)
    def undo_third(self, result: str | None) -> None:
        self.act("third", "backward")

    @step
    def last(self) -> str:
        return self.act("last")

    last.no_compensation("nothing can fail after it")


class SingleTry(Crashes):
    """The same, where a lost attempt leaves the outcome unknown and the saga turns back."""

    class Meta:
        label = "crashes.SingleTry"
        in_place = False
        step_defaults = {"max_retries": 0}


class InPlace(Crashes):
    """The same, where one message carries a worker through all of it."""

    class Meta:
        label = "crashes.InPlace"
        step_defaults = RETRIED
