"""Five steps in a row, each undoable, with the default options of the engine."""

from benchmarks.faults import handlers
from benchmarks.faults.wishes import Wish
from sagas import PermanentError, Saga, step


class FiveSteps(Saga[Wish]):
    """reserve → charge → pack → ship → notify."""

    class Meta:
        label = "faults.FiveSteps"
        key = "{input.saga}"

    def act(self, name: str) -> str:
        try:
            return handlers.perform(self.input, name, self.idempotency_key)
        except handlers.Refused as refused:
            raise PermanentError(str(refused), code="REFUSED") from refused

    def undo(self) -> None:
        undone = self.undoing
        handlers.take_back(self.input, undone.name, undone.idempotency_key)

    @step
    def reserve(self) -> str:
        return self.act("reserve")

    @reserve.compensation
    def undo_reserve(self, _: str | None) -> None:
        self.undo()

    @step
    def charge(self) -> str:
        return self.act("charge")

    @charge.compensation
    def undo_charge(self, _: str | None) -> None:
        self.undo()

    @step
    def pack(self) -> str:
        return self.act("pack")

    @pack.compensation
    def undo_pack(self, _: str | None) -> None:
        self.undo()

    @step
    def ship(self) -> str:
        return self.act("ship")

    @ship.compensation
    def undo_ship(self, _: str | None) -> None:
        self.undo()

    @step
    def notify(self) -> str:
        return self.act("notify")

    @notify.compensation
    def undo_notify(self, _: str | None) -> None:
        self.undo()


class FiveShortSteps(FiveSteps):
    """The same with a hard time limit, for handlers that hang."""

    class Meta:
        label = "faults.FiveShortSteps"
        key = "{input.saga}"
        step_defaults = {"time_limit": 3}
