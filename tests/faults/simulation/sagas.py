"""The sagas that are simulated. Their handlers go through the simulation that runs right now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from sagas import Saga, Wait, step


@dataclass(frozen=True)
class Nothing:
    """An input of which nothing depends."""


@dataclass(frozen=True)
class Receipt:
    """A result that a compensation can check."""

    of: str


class Outside:
    """The way out of the handlers; set by the simulation that runs."""

    act: ClassVar[Callable[[Saga[Nothing], str], None]]
    """What a handler does outside, and what it meets there."""

    find: ClassVar[Callable[[str], bool]]
    """Whether an effect of this key stands."""


WAIT = 30.0
"""Seconds: longer than time that just passes, shorter than a lease that ends."""

OPTIONS = {"max_retries": 1, "retry_jitter": False}


class Simulated(Saga[Nothing]):
    """Base of the simulated sagas: start → {left ∥ right} → join."""

    class Meta:
        label = "tests.Simulated"
        step_defaults = OPTIONS

    def act(self, name: str) -> Receipt:
        """Have the effect of a step."""
        Outside.act(self, name)
        return Receipt(name)

    def undo(self, name: str, receipt: Receipt | None) -> None:
        """Undo it; a result that is given is the step's own."""
        assert receipt in {None, Receipt(name)}
        Outside.act(self, f"undo {name}")

    @step
    def start(self) -> Receipt:
        return self.act("start")

    @start.compensation(max_retries=1)
    def undo_start(self, receipt: Receipt | None) -> None:
        self.undo("start", receipt)

    @step(after=[start])
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation(max_retries=1)
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("left", receipt)

    @left.reconcile
    def find_left(self) -> Receipt | None:
        return Receipt("left") if Outside.find(self.idempotency_key) else None

    @step(after=[start])
    def right(self) -> Receipt:
        return self.act("right")

    @right.compensation(max_retries=0)
    def undo_right(self, receipt: Receipt | None) -> None:
        self.undo("right", receipt)

    @step(after=[left, right])
    def join(self) -> Receipt:
        return self.act("join")

    @join.compensation(max_retries=0)
    def undo_join(self, receipt: Receipt | None) -> None:
        self.undo("join", receipt)


class Trip(Simulated):
    """Every step can be undone."""

    class Meta:
        label = "tests.SimulatedTrip"
        step_defaults = OPTIONS


class Stubborn(Simulated):
    """One compensation that fails does not keep the others from running."""

    class Meta:
        label = "tests.SimulatedStubborn"
        step_defaults = OPTIONS
        on_compensation_failure = "continue"


class Order(Simulated):
    """The same, then a point of no return, and what follows it."""

    class Meta:
        label = "tests.SimulatedOrder"
        step_defaults = OPTIONS

    @step(pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step
    def ship(self) -> Receipt:
        return self.act("ship")

    @step(critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")


class Asked(Simulated):
    """The same, then two at once that outside parties do, one of which can be asked; then the end."""

    class Meta:
        label = "tests.SimulatedAsked"
        step_defaults = OPTIONS

    def leave(self, name: str) -> NoReturn:
        """Ask whoever does it, and wait for them."""
        Outside.act(self, name)
        raise Wait(name, timeout=WAIT)

    @step(after=[Simulated.join])
    def approve(self) -> Receipt:
        self.leave("approve")

    @approve.compensation(max_retries=1)
    def undo_approve(self, receipt: Receipt | None) -> None:
        assert receipt in {None, Receipt("approve")}
        self.leave("undo approve")

    @step(after=[Simulated.join])
    def sign(self) -> Receipt:
        self.leave("sign")

    @sign.compensation(max_retries=1)
    def undo_sign(self, receipt: Receipt | None) -> None:
        self.undo("sign", receipt)

    @sign.reconcile
    def find_sign(self) -> Receipt | None:
        return Receipt("sign") if Outside.find(self.idempotency_key) else None

    @step(after=[approve, sign])
    def close(self) -> Receipt:
        return self.act("close")

    @close.compensation(max_retries=0)
    def undo_close(self, receipt: Receipt | None) -> None:
        self.undo("close", receipt)


LEFT = frozenset({"approve", "undo approve", "sign"})
"""The handlers whose work outside parties do."""

SAGAS: dict[str, type[Simulated]] = {
    "Trip": Trip,
    "Stubborn": Stubborn,
    "Order": Order,
    "Asked": Asked,
}
