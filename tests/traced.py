"""A saga whose handlers tell what they did, and fail where its input says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sagas import OutcomeUnknown, PermanentError, Saga, Wait, step
from sagas.exceptions import AlreadyUndone


CALLS: list[str] = []


@dataclass(frozen=True)
class Script:
    """What goes wrong: handler name → ``permanent``, ``network``, ``unknown``, ``bug``, ``gone``, ``no``.

    ``wait`` leaves it to others, ``wait=60`` for a minute.
    """

    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """A result that a compensation can check."""

    of: str


class Traced(Saga[Script]):
    """Base of the sagas under test."""

    def act(self, name: str) -> Receipt:
        """Do what the script says of this handler."""
        CALLS.append(name)
        fault = self.input.faults.get(name, "")
        if fault.startswith("once-"):
            fault = fault.removeprefix("once-") if self.attempt == 1 else ""
        if fault == "permanent":
            message = f"{name} refused"
            raise PermanentError(message, code="REFUSED")
        if fault == "network":
            message = f"{name} did not answer"
            raise ConnectionError(message)
        if fault == "unknown":
            message = f"{name} may have happened"
            raise OutcomeUnknown(message)
        if fault == "gone":
            raise AlreadyUndone
        if fault.startswith("wait"):
            _, _, seconds = fault.partition("=")
            message = f"others do {name}"
            raise Wait(message, timeout=float(seconds) if seconds else None)
        if fault == "bug":
            message = f"{name} has a bug"
            raise KeyError(message)
        return Receipt(name)

    def undo(self, name: str, receipt: Receipt | None) -> None:
        """Undo, and tell of what: ``undo_a(a)`` or, with an unknown outcome, ``undo_a(None)``."""
        self.act(name)
        CALLS[-1] = f"{name}({receipt.of if receipt else None})"


class Five(Traced):
    """Five steps in a row, each undoable."""

    class Meta:
        label = "tests.Five"
        step_defaults = {"max_retries": 2, "retry_jitter": False}

    @step
    def a(self) -> Receipt:
        return self.act("a")

    @a.compensation
    def undo_a(self, receipt: Receipt | None) -> None:
        self.undo("undo_a", receipt)

    @step
    def b(self) -> Receipt:
        return self.act("b")

    @b.compensation
    def undo_b(self, receipt: Receipt | None) -> None:
        self.undo("undo_b", receipt)

    @step
    def c(self) -> Receipt:
        return self.act("c")

    @c.compensation
    def undo_c(self, receipt: Receipt | None) -> None:
        self.undo("undo_c", receipt)

    @step
    def d(self) -> Receipt:
        return self.act("d")

    @d.compensation
    def undo_d(self, receipt: Receipt | None) -> None:
        self.undo("undo_d", receipt)

    @step
    def e(self) -> Receipt:
        return self.act("e")

    @e.compensation
    def undo_e(self, receipt: Receipt | None) -> None:
        self.undo("undo_e", receipt)


class Diamond(Traced):
    """start → {left ∥ right} → join → pivot → after, and a best-effort tail."""

    class Meta:
        label = "tests.Diamond"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def start(self) -> Receipt:
        return self.act("start")

    @start.compensation
    def undo_start(self, receipt: Receipt | None) -> None:
        self.undo("undo_start", receipt)

    @step(after=[start])
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("undo_left", receipt)

    @step(after=[start])
    def right(self) -> Receipt:
        return self.act("right")

    @right.compensation
    def undo_right(self, receipt: Receipt | None) -> None:
        self.undo("undo_right", receipt)

    @right.condition
    def wants_right(self) -> bool:
        return self.input.faults.get("wants_right") != "no"

    @step(after=[left, right])
    def join(self) -> Receipt:
        return self.act("join")

    @join.compensation
    def undo_join(self, receipt: Receipt | None) -> None:
        self.undo("undo_join", receipt)

    @step(pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step
    def ship(self) -> Receipt:
        return self.act("ship")

    @step(critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")


@contextmanager
def calls() -> Iterator[list[str]]:
    """Collect what handlers did within the block."""
    CALLS.clear()
    yield CALLS
