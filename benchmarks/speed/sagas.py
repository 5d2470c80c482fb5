"""Five steps that do nothing, or wait, in the three ways in which this product can run them."""

from dataclasses import dataclass

from benchmarks.speed.applications import ledger
from sagas import PermanentError, Saga, step


@dataclass(frozen=True, kw_only=True)
class Order:
    """``batch`` is what the handlers tell the ledger."""

    batch: str
    fails: bool = False


class InPlace(Saga[Order]):
    """The defaults: a finished step's successor runs where it ran."""

    class Meta:
        label = "speed.InPlace"

    @step
    def reserve(self) -> None:
        ledger.began(self.input.batch)
        ledger.pause()

    @reserve.compensation
    def undo_reserve(self, _: None) -> None:
        ledger.ended(self.input.batch)

    @step
    def charge(self) -> None:
        ledger.pause()

    @charge.compensation
    def undo_charge(self, _: None) -> None: ...

    @step
    def pack(self) -> None:
        ledger.pause()

    @pack.compensation
    def undo_pack(self, _: None) -> None: ...

    @step
    def ship(self) -> None:
        ledger.pause()

    @ship.compensation
    def undo_ship(self, _: None) -> None: ...

    @step
    def notify(self) -> None:
        ledger.pause()
        if self.input.fails:
            raise PermanentError("the last step fails", code="LAST")
        ledger.ended(self.input.batch)

    @notify.compensation
    def undo_notify(self, _: None) -> None: ...


class OneMessagePerStep(Saga[Order]):
    """A message for each step, each through a queue of its own."""

    class Meta:
        label = "speed.OneMessagePerStep"
        in_place = False

    @step(queue="speed.1")
    def reserve(self) -> None:
        ledger.began(self.input.batch)

    reserve.no_compensation("does nothing")

    @step(queue="speed.2")
    def charge(self) -> None: ...

    charge.no_compensation("does nothing")

    @step(queue="speed.3")
    def pack(self) -> None: ...

    pack.no_compensation("does nothing")

    @step(queue="speed.4")
    def ship(self) -> None: ...

    ship.no_compensation("does nothing")

    @step(queue="speed.5")
    def notify(self) -> None:
        ledger.ended(self.input.batch)

    notify.no_compensation("does nothing")
