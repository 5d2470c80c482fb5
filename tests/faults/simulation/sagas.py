"""The sagas that are simulated. Their handlers go through the life that runs right now."""

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol

from sagas import Saga, Wait, step


class World(Protocol):
    """What the handlers of one life meet outside."""

    def act(self, saga: Saga[Any], name: str) -> None:
        """Have the effect of a handler, or not."""

    def meet(self, name: str) -> None:
        """Meet what the scenario says, before there is an effect."""

    def wants(self, saga: Saga[Any], name: str) -> bool:
        """Answer a condition."""

    def has(self, key: str) -> bool:
        """Whether an effect of this key stands."""


class Outside:
    """The way out of the handlers."""

    world: ClassVar[World]
    """Of the life that runs right now."""

    unstorable: ClassVar[bool] = False
    """Receipts are refused by their own class just now."""


class Refused(Exception):
    """What a class may raise that is no ValueError."""


@dataclass(frozen=True)
class Nothing:
    """An input of which nothing depends."""


@dataclass(frozen=True)
class Receipt:
    """A result that a compensation can check."""

    of: str

    def __post_init__(self) -> None:
        """Refuse what its currency table, a cache, a setting does not know just now."""
        if Outside.unstorable:
            raise Refused(self.of)


WAIT = 30.0
"""Seconds: longer than time that just passes, shorter than a lease that ends."""

OPTIONS = {"max_retries": 1, "retry_jitter": False}


class Simulated(Saga[Nothing]):
    """What the handlers of all have in common."""

    class Meta:
        abstract = True
        step_defaults = OPTIONS

    def act(self, name: str) -> Receipt:
        """Have the effect of a step."""
        receipt = Receipt(name)
        Outside.world.act(self, name)
        return receipt

    def undo(self, name: str, receipt: Receipt | None) -> None:
        """Undo it; a result that is given is the step's own."""
        assert receipt in {None, Receipt(name)}
        Outside.world.act(self, f"undo {name}")

    def leave(self, name: str) -> NoReturn:
        """Ask whoever does it, and wait for them."""
        Outside.world.act(self, name)
        raise Wait(name, timeout=WAIT)

    def found(self, name: str) -> Receipt | None:
        """Ask whether it happened."""
        return Receipt(name) if Outside.world.has(self.idempotency_key) else None


class Trip(Simulated):
    """{left, which is asked and not repeated ∥ right} → join; all of them are undone."""

    class Meta:
        label = "tests.SimulatedTrip"
        version = 2
        step_defaults = OPTIONS

    @step(after=[], max_retries=0)
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation(max_retries=1)
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("left", receipt)

    @left.reconcile
    def find_left(self) -> Receipt | None:
        return self.found("left")

    @step(after=[])
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


class Stubborn(Trip):
    """One compensation that fails does not keep the others from running."""

    class Meta:
        label = "tests.SimulatedStubborn"
        version = 2
        step_defaults = OPTIONS
        on_compensation_failure = "continue"


class Order(Simulated):
    """reserve → charge, unless it is paid → send, the point of no return → book → close → tell, if it can."""

    class Meta:
        label = "tests.SimulatedOrder"
        version = 2
        step_defaults = OPTIONS

    @step
    def reserve(self) -> Receipt:
        return self.act("reserve")

    @reserve.compensation(max_retries=1)
    def undo_reserve(self, receipt: Receipt | None) -> None:
        self.undo("reserve", receipt)

    @step
    def charge(self) -> Receipt:
        return self.act("charge")

    @charge.compensation(max_retries=1)
    def undo_charge(self, receipt: Receipt | None) -> None:
        self.undo("charge", receipt)

    @charge.condition
    def is_not_paid_yet(self) -> bool:
        return Outside.world.wants(self, "charge")

    @step(pivot=True)
    def send(self) -> Receipt:
        return self.act("send")

    @step
    def book(self) -> Receipt:
        return self.act("book")

    @step
    def close(self) -> Receipt:
        return self.act("close")

    @step(critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")


class Transfer(Simulated):
    """{wire, of which nothing is undone blindly ∥ note, if it can and is wanted} → close."""

    class Meta:
        label = "tests.SimulatedTransfer"
        version = 2
        step_defaults = OPTIONS

    @step(after=[], max_retries=0, on_unknown="hold")
    def wire(self) -> Receipt:
        return self.act("wire")

    @wire.compensation(max_retries=0)
    def undo_wire(self, receipt: Receipt | None) -> None:
        self.undo("wire", receipt)

    @step(after=[], critical=False)
    def note(self) -> Receipt:
        return self.act("note")

    @note.compensation(max_retries=0)
    def undo_note(self, receipt: Receipt | None) -> None:
        self.undo("note", receipt)

    @note.condition
    def is_wanted(self) -> bool:
        return Outside.world.wants(self, "note")

    @step(after=[wire, note])
    def close(self) -> Receipt:
        return self.act("close")

    @close.compensation(max_retries=0)
    def undo_close(self, receipt: Receipt | None) -> None:
        self.undo("close", receipt)


class Lease(Simulated):
    """hold, which is not given back once sign is done → {sign ∥ keys, if it can ∥ move}."""

    class Meta:
        label = "tests.SimulatedLease"
        version = 2
        step_defaults = OPTIONS

    @step(compensable_until="sign")
    def hold(self) -> Receipt:
        return self.act("hold")

    @hold.compensation(max_retries=1)
    def undo_hold(self, receipt: Receipt | None) -> None:
        self.undo("hold", receipt)

    @step(after=[hold])
    def sign(self) -> Receipt:
        return self.act("sign")

    @sign.compensation(max_retries=1)
    def undo_sign(self, receipt: Receipt | None) -> None:
        self.undo("sign", receipt)

    @step(after=[hold], critical=False)
    def keys(self) -> Receipt:
        return self.act("keys")

    @keys.compensation(max_retries=0)
    def undo_keys(self, receipt: Receipt | None) -> None:
        self.undo("keys", receipt)

    @keys.reconcile
    def find_keys(self) -> Receipt | None:
        return self.found("keys")

    @step(after=[hold])
    def move(self) -> Receipt:
        return self.act("move")

    @move.compensation(max_retries=0)
    def undo_move(self, receipt: Receipt | None) -> None:
        self.undo("move", receipt)


class Asked(Simulated):
    """first → {approve ∥ vote}, which outside parties do, and vote can be asked → last."""

    class Meta:
        label = "tests.SimulatedAsked"
        version = 2
        step_defaults = OPTIONS

    @step
    def first(self) -> Receipt:
        return self.act("first")

    @first.compensation(max_retries=0)
    def undo_first(self, receipt: Receipt | None) -> None:
        self.undo("first", receipt)

    @step(after=[first])
    def approve(self) -> Receipt:
        self.leave("approve")

    @approve.compensation(max_retries=1)
    def undo_approve(self, receipt: Receipt | None) -> None:
        assert receipt in {None, Receipt("approve")}
        self.leave("undo approve")

    @step(after=[first])
    def vote(self) -> Receipt:
        self.leave("vote")

    @vote.compensation(max_retries=1)
    def undo_vote(self, receipt: Receipt | None) -> None:
        self.undo("vote", receipt)

    @vote.reconcile
    def find_vote(self) -> Receipt | None:
        return self.found("vote")

    @step(after=[approve, vote])
    def last(self) -> Receipt:
        return self.act("last")

    @last.compensation(max_retries=0)
    def undo_last(self, receipt: Receipt | None) -> None:
        self.undo("last", receipt)


class Parcel(Simulated):
    """pack → {mark, for which nobody waits ∥ send → thank, for which nobody waits}."""

    class Meta:
        label = "tests.SimulatedParcel"
        version = 2
        step_defaults = OPTIONS

    @step
    def pack(self) -> Receipt:
        return self.act("pack")

    @pack.compensation(max_retries=1)
    def undo_pack(self, receipt: Receipt | None) -> None:
        self.undo("pack", receipt)

    @step(critical=False, wait=False)
    def mark(self) -> Receipt:
        return self.act("mark")

    @mark.compensation(max_retries=1)
    def undo_mark(self, receipt: Receipt | None) -> None:
        self.undo("mark", receipt)

    @step
    def send(self) -> Receipt:
        return self.act("send")

    @send.compensation(max_retries=1)
    def undo_send(self, receipt: Receipt | None) -> None:
        self.undo("send", receipt)

    @step(critical=False, wait=False)
    def thank(self) -> Receipt:
        return self.act("thank")

    @thank.compensation(max_retries=1)
    def undo_thank(self, receipt: Receipt | None) -> None:
        self.undo("thank", receipt)


LEFT = frozenset({"approve", "undo approve", "vote"})
"""The handlers whose work outside parties do."""

BEATING = frozenset(
    {"right", "undo right", "undo left", "charge", "undo charge", "wire", "undo wire", "undo keys"}
)
"""Those that keep their progress by heartbeats, and go on from there."""

SAGAS: dict[str, type[Simulated]] = {
    saga.__name__: saga for saga in (Trip, Stubborn, Order, Transfer, Lease, Asked, Parcel)
}
