"""A saga for real workers, of which another code base does a step: see ``tests/other_code_base``."""

from dataclasses import dataclass

from sagas import Saga, remote, step
from tests.other_code_base import ledger


@dataclass(frozen=True)
class Payment:
    """What the charge returns."""

    id: str
    cents: int


@dataclass(frozen=True)
class Sale:
    """A file to tell, what the charge does before and after its effect, and whether the end fails."""

    ledger: str
    before: str = ""
    after: str = ""
    fails: bool = False


class Charged(Saga[Sale]):
    """reserve → charge (remote, undone by a remote task) → ship."""

    class Meta:
        label = "flows.Charged"
        step_defaults = {"max_retries": 0}

    def arguments(self) -> dict[str, str]:
        """Return those of the charge."""
        return {
            "ledger": self.input.ledger,
            "order": self.run.key,
            "key": self.idempotency_key,
            "before": self.input.before,
            "after": self.input.after,
        }

    @step
    def reserve(self) -> None:
        ledger.tell(self.input.ledger, "reserved")

    @reserve.compensation
    def release(self, _: None) -> None:
        ledger.tell(self.input.ledger, "released")

    @remote("payments.charge", queue="other.payments", result=Payment, time_limit=60)
    def charge(self) -> dict[str, str]:
        return self.arguments()

    @charge.remote_compensation("payments.refund", queue="other.payments")
    def refund(self, payment: Payment | None) -> list[str | None]:
        paid = payment.id if payment else None
        return [self.input.ledger, paid, self.undoing.idempotency_key]

    @step
    def ship(self) -> None:
        ledger.tell(self.input.ledger, "ship begins")
        if self.input.fails:
            raise ValueError("no lorry")

    ship.no_compensation("it is the last")


class Found(Charged):
    """The same, and the ledger is asked whether it was charged."""

    class Meta:
        label = "flows.Found"
        step_defaults = {"max_retries": 0}

    @remote("payments.charge", queue="other.payments", result=Payment, time_limit=60)
    def charge(self) -> dict[str, str]:
        return self.arguments()

    @charge.remote_compensation("payments.refund", queue="other.payments")
    def refund_found(self, payment: Payment | None) -> list[str | None]:
        return Charged.refund(self, payment)

    @charge.reconcile
    def find(self) -> Payment | None:
        key = self.idempotency_key
        paid = ledger.keys(self.input.ledger, "charged")
        return Payment(f"p-{self.run.key}", 500) if key in paid else None


class Impatient(Charged):
    """The same, and it waits for a moment only."""

    class Meta:
        label = "flows.Impatient"
        step_defaults = {"max_retries": 0}

    @remote("payments.charge", queue="other.payments", result=Payment, time_limit=3)
    def charge(self) -> dict[str, str]:
        return self.arguments()

    @charge.remote_compensation("payments.refund", queue="other.refunds")
    def refund_late(self, payment: Payment | None) -> list[str | None]:
        return Charged.refund(self, payment)
