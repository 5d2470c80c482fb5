"""A saga whose steps are computed from its input, with a group; its handlers tell what they did."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sagas import PermanentError, Saga, step
from sagas.definitions import PlanItem


CALLS: list[str] = []


@dataclass(frozen=True)
class Line:
    """One line of an order."""

    sku: str
    quantity: int = 1


@dataclass(frozen=True)
class Order:
    """What is ordered, and which handler refuses."""

    lines: list[Line] = field(default_factory=list)
    gift: bool = False
    fails: str = ""


@dataclass(frozen=True)
class Wrapping:
    """What a group needs of an order."""

    gift: bool
    fails: str = ""


class Wrap(Saga[Wrapping]):
    """Gift wrapping, a saga that others take in."""

    class Meta:
        label = "tests.Wrap"
        step_defaults = {"max_retries": 0, "queue": "wrapping"}

    @step
    def wrap(self) -> str:
        CALLS.append(f"wrap {self.input}")
        return "red"

    @wrap.compensation
    def unwrap(self, colour: str | None) -> None:
        CALLS.append(f"unwrap {colour}")

    @step
    def seal(self) -> str:
        CALLS.append(f"seal {self.wrap.result}")
        return "wax"

    seal.no_compensation("a seal is broken by the customer")


class Dispatch(Saga[Order]):
    """Reserve, ship each line, wrap a gift, bill what was shipped."""

    class Meta:
        label = "tests.Dispatch"
        step_defaults = {"max_retries": 0}

    @step
    def reserve(self) -> int:
        CALLS.append("reserve")
        return len(self.input.lines)

    @reserve.compensation
    def release(self, count: int | None) -> None:
        CALLS.append(f"release {count}")

    @step
    def ship_line(self, line: Line) -> str:
        if self.input.fails == line.sku:
            raise PermanentError(f"{line.sku} is gone", code="GONE")
        CALLS.append(f"ship {line.sku} of {self.reserve.result}")
        return f"{line.quantity} {line.sku}"

    @ship_line.compensation
    def call_back(self, shipped: str | None) -> None:
        line = self.undoing.input
        CALLS.append(f"call back {shipped}: {self.undoing.name} of {line.quantity}")

    @step
    def bill(self) -> list[str]:
        if self.input.fails == "bill":
            raise PermanentError("no money", code="NO_MONEY")
        CALLS.append(f"bill {', '.join(self.ship_line.results)}")
        return self.ship_line.results

    bill.no_compensation("a bill is not paid")

    @classmethod
    def plan(cls, order: Order) -> Iterator[PlanItem]:
        yield cls.reserve
        for line in order.lines:
            yield cls.ship_line.bind(line, name=f"ship_line[{line.sku}]")
        if order.gift:
            yield Wrap
        yield cls.bill


@dataclass(frozen=True)
class Count:
    """How many steps."""

    of: int
    fails: bool = False


class Many(Saga[Count]):
    """As many steps side by side as its input says, between a first and a last."""

    class Meta:
        label = "tests.Many"
        step_defaults = {"max_retries": 0}

    @step
    def begin(self) -> int:
        return self.input.of

    begin.no_compensation("a test")

    @step
    def make(self, number: int) -> int:
        return number + self.begin.result

    @make.compensation
    def unmake(self, made: int | None) -> None:
        CALLS.append(f"{made} {self.undoing.input}")

    @step
    def end(self) -> int:
        if self.input.fails:
            raise PermanentError("the end refuses")
        return sum(self.make.results)

    end.no_compensation("a test")

    @classmethod
    def plan(cls, count: Count) -> Iterator[PlanItem]:
        yield cls.begin
        for number in range(count.of):
            yield cls.make.bind(number, name=f"make[{number}]")
        yield cls.end
