"""The sagas that are simulated. Their handlers go through the simulation that runs right now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from sagas import Saga, step


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


SAGAS: dict[str, type[Simulated]] = {"Trip": Trip, "Stubborn": Stubborn, "Order": Order}
