"""A saga whose payloads are hard to carry, and whose handlers keep what they saw."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from sagas import PermanentError, Saga, step


SEEN: list[tuple[str, Any]] = []


@dataclass(frozen=True)
class Item:
    """A dataclass inside another, with a tuple of its own."""

    sku: str
    price: Decimal
    size: tuple[int, float]


@dataclass(frozen=True)
class Parcel:
    """What JSON alone would not bring back."""

    order_id: str
    total: Decimal
    ordered_at: datetime
    items: tuple[Item, ...]
    fails_at: str = ""


@dataclass(frozen=True)
class Stamp:
    """A result of the same kind."""

    amount: Decimal
    at: datetime
    marks: tuple[str, ...]


PARCEL = Parcel(
    order_id="7",
    total=Decimal("10.10"),
    ordered_at=datetime(2024, 2, 29, 23, 59, 59, 123457, tzinfo=timezone(timedelta(hours=5.5))),
    items=(Item("a", Decimal("0.10"), (1, 2.5)), Item("b", Decimal("10.00"), (0, 0.0))),
)
STAMP = Stamp(Decimal("0.30"), datetime(2024, 3, 1, 0, 0, 0, 1, tzinfo=UTC), ("x", "y"))


class Typed(Saga[Parcel]):
    """Two steps and a third that can fail; each tells what it saw."""

    class Meta:
        label = "tests.Typed"
        key = "order-{input.order_id}"
        step_defaults = {"max_retries": 2, "retry_jitter": False}

    def see(self, what: str, result: object = None) -> None:
        SEEN.append((what, self.input))
        if result is not None:
            SEEN.append((f"{what} got", result))

    @step
    def first(self) -> Stamp:
        self.see("first")
        if self.attempt == 1:
            raise ConnectionError
        return STAMP

    @first.compensation
    def undo_first(self, stamp: Stamp | None) -> None:
        self.see("undo_first", stamp)
        if self.attempt == 1:
            raise ConnectionError

    @step
    def second(self) -> tuple[Decimal, ...]:
        self.see("second", self.first.result)
        return (Decimal("1.00"),)

    @second.compensation
    def undo_second(self, amounts: tuple[Decimal, ...] | None) -> None:
        self.see("undo_second", amounts)
        SEEN.append(("cause", (self.run.failed_step, self.run.error_code, self.run.error)))

    @step
    def third(self) -> None:
        self.see("third", self.first.result)
        if self.input.fails_at == "third":
            message = "third refused"
            raise PermanentError(message)

    third.no_compensation("it is the last")


@dataclass(frozen=True)
class Words:
    """One text."""

    text: str


class TwoDoors(Saga[Words]):
    """Two steps that can begin at once, and one that waits for both."""

    class Meta:
        label = "tests.TwoDoors"

    @step(after=[])
    def left(self) -> str:
        raise PermanentError(self.input.text)

    left.no_compensation("nothing happens")

    @step(after=[])
    def right(self) -> str:
        return self.input.text

    right.no_compensation("nothing happens")

    @step(after=[left, right])
    def join(self) -> None:
        """Nothing."""

    join.no_compensation("nothing happens")
