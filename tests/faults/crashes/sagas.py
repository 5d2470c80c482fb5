"""The saga of the crash matrix: plain steps around an atomic one, and all of them undone."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import uuid4

from django.contrib.auth.models import Group

from sagas import PermanentError, Saga, Wait, step
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun
from sagas.operations import complete_step
from tests.faults.crashes.blows import Injected
from tests.faults.crashes.points import Boundary, Place, reach
from tests.flows import ledger


class Outside(StrEnum):
    """What becomes of a step that an outside party completes."""

    COMPLETES = "completes"
    COMPLETES_EARLY = "completes early"
    """Before the handler says that it waits."""
    DENIES = "denies"
    SILENT = "silent"
    """It is done, and nobody says so in time."""


@dataclass(frozen=True)
class Crash:
    """A file outside the system to tell, and which step refuses or dies in its first attempt."""

    ledger: str
    refuses: str = ""
    dies: str = ""
    waits: str = ""
    """The direction in which the third step is left to an outside party."""
    outside: Outside = Outside.COMPLETES
    skips: bool = False
    """An operator skips the third step as soon as an attempt of it is lost."""


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
        if in_row:
            self.heartbeat({"at": name})  # its row is locked by nobody, in a transaction or not
        place = Place(run_id=self.run.id, step=name, direction=direction)
        reach(Boundary.BEFORE_EFFECT, place)
        if in_row:
            Group.objects.create(name=f"{self.idempotency_key} {uuid4()}")
        else:
            self.tell(name, direction)
        reach(Boundary.AFTER_EFFECT, place)
        return name

    def tell(self, name: str, phase: str) -> None:
        """Have an effect outside the system."""
        ledger.write(self.input.ledger, name, phase, self.idempotency_key, self.attempt)

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


class Flips(Crashes):
    """The same, where the condition of the third step says no as soon as that has happened."""

    class Meta:
        label = "crashes.Flips"
        in_place = False
        step_defaults = RETRIED

    @step(after=[Crashes.booked])
    def third(self) -> str:
        return self.act("third")

    @third.compensation(max_retries=5)
    def undo_third(self, result: str | None) -> None:
        self.act("third", "backward")

    @third.condition
    def is_missing(self) -> bool:
        told = ledger.read(self.input.ledger)
        return not any((entry.what, entry.phase) == ("third", "forward") for entry in told)


class Held(Crashes):
    """The same, where a lost attempt of the third step is left to an operator, who looks at what happened.

    The others are tried again: a blow to a whole worker also hits sagas that it was not meant for.
    """

    class Meta:
        label = "crashes.Held"
        in_place = False
        step_defaults = RETRIED

    @step(after=[Crashes.booked], max_retries=0, on_unknown="hold")
    def third(self) -> str:
        return self.act("third")

    @third.compensation(max_retries=5)
    def undo_third(self, result: str | None) -> None:
        self.act("third", "backward")


class Optional(Crashes):
    """The same, and then a best-effort step that nobody ends before the deadline."""

    class Meta:
        label = "crashes.Optional"
        in_place = False
        step_defaults = RETRIED
        timeout = timedelta(seconds=15)

    @step(after=[Crashes.last], critical=False)
    def extra(self) -> str:
        self.act("extra")
        raise Wait("somebody who is never heard of again")

    extra.no_compensation("harmless")


class Waits(Crashes):
    """The same, where an outside party completes the third step or its compensation."""

    class Meta:
        label = "crashes.Waits"
        in_place = False
        step_defaults = RETRIED

    def act(self, name: str, direction: str = "forward", *, in_row: bool = False) -> str:
        """Have the effect by whoever is asked, and leave it to them to say so."""
        done = super().act(name, direction, in_row=in_row)
        if not self._is_left(name, direction):
            return done
        if self.input.outside == Outside.COMPLETES_EARLY:
            self._complete(name)
        silent = self.input.outside == Outside.SILENT
        raise Wait("an outside party", timeout=1.0 if silent else None)

    def tell(self, name: str, phase: str) -> None:
        """Who denies a request has seen it, and has done nothing."""
        denied = self._is_left(name, phase) and self.input.outside == Outside.DENIES
        super().tell(name, "asked" if denied else phase)

    def _is_left(self, name: str, direction: str) -> bool:
        return (name, direction) == ("third", self.input.waits)

    def _complete(self, name: str) -> None:
        try:
            with suppress(ActionNotAllowed):
                run = SagaRun.objects.get(pk=self.run.id)
                complete_step(run, name, result=name, reason="faster than the handler")
        except Injected as error:
            raise ConnectionError from error
