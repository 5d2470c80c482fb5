"""One saga in two releases, chosen by the environment: what a deploy changes under sagas in flight.

The second renames the queue of ``b``, has no ``c`` any more and adds ``d``; the third wants one more field
of the input besides.
"""

import os
from dataclasses import dataclass
from typing import Any

from sagas import Saga, step
from tests.flows import ledger


RELEASE = os.environ.get("SAGAS_TEST_RELEASE", "1")


@dataclass(frozen=True)
class First:
    """The input of the first two releases."""

    ledger: str


@dataclass(frozen=True)
class Third:
    """With a field that no saga in flight has."""

    ledger: str
    currency: str


Input: Any = Third if RELEASE == "3" else First


class Released(Saga[Input]):
    """What the workers of this release know."""

    class Meta:
        label = "tests.Released"
        step_defaults = {"max_retries": 0}

    def tell(self, name: str) -> str:
        ledger.write(self.input.ledger, name, "ended", self.idempotency_key, self.attempt)
        return name

    @step
    def a(self) -> str:
        return self.tell("a")

    @a.compensation(queue="released.old" if RELEASE == "1" else "released.new")
    def undo_a(self, _: str | None) -> None:
        self.tell("undo a")

    @step(queue="released.old" if RELEASE == "1" else "released.new")
    def b(self) -> str:
        return self.tell("b")

    @b.compensation
    def undo_b(self, _: str | None) -> None:
        self.tell("undo b")

    if RELEASE == "1":

        @step(after=[b])
        def c(self) -> str:
            return self.tell("c")

        c.no_compensation("reads only")
    else:

        @step(after=[b])
        def d(self) -> str:
            return self.tell("d")

        d.no_compensation("reads only")


@dataclass(frozen=True)
class Priced:
    """What the second release wants to know besides."""

    ledger: str
    currency: str


def paying_first() -> type[Saga[First]]:
    """Return the saga as the first release has it."""

    class Charging(Saga[First]):
        class Meta:
            label = "tests.Charging"
            in_place = False

        @step
        def charge(self) -> str:
            return told(self, "charge by 1")

        @charge.compensation
        def refund_charge(self, charged: str | None) -> None:
            told(self, f"undo of ({charged}) by 1")

        @step
        def ship(self) -> str:
            return told(self, f"ship after ({self.charge.result}) by 1")

        ship.no_compensation("it is the last")

    return Charging


def paying_second() -> type[Saga[Priced]]:
    """Return it as the second has it: a step of another name, and another input."""

    class Charging(Saga[Priced]):
        class Meta:
            label = "tests.Charging"
            version = 2
            in_place = False

        @classmethod
        def migrate(cls, version: int, data: Any) -> Any:
            return {**data, "currency": "EUR"}

        @step(formerly="charge")
        def pay(self) -> str:
            return told(self, f"pay {self.input.currency} by 2")

        @pay.compensation
        def refund(self, paid: str | None) -> None:
            told(self, f"undo of ({paid}) by 2")

        @step
        def ship(self) -> str:
            return told(self, f"ship after ({self.pay.result}) by 2")

        ship.no_compensation("it is the last")

    return Charging


def told(saga: Saga[Any], what: str) -> str:
    """Write it into the ledger."""
    ledger.write(saga.input.ledger, what, "ended", saga.idempotency_key, saga.attempt)
    return what


paying_first() if RELEASE == "1" else paying_second()
