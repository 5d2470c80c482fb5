"""The payment provider: charges, refunds, and a guess at fraud."""

from dataclasses import dataclass
from decimal import Decimal

from examples.shop.models import Effect
from examples.shop.services import effects


SERVICE = "payments"
CHARGE = "charge"
LARGE_AMOUNT = Decimal(1000)


@dataclass(frozen=True)
class Payment:
    reference: str
    amount: Decimal


@dataclass(frozen=True)
class FraudScore:
    points: int


def charge(order_id: int, customer_id: str, amount: Decimal, *, key: str) -> Payment:
    """Take ``amount`` from the customer."""
    effect = effects.perform(
        SERVICE,
        CHARGE,
        key=key,
        order_id=order_id,
        details={"customer": customer_id, "amount": str(amount)},
    )
    return _payment(effect)


def refund(order_id: int, *, key: str) -> None:
    """Give back what was charged under ``key``."""
    effects.undo(SERVICE, CHARGE, key=key, order_id=order_id)


def find(*, key: str) -> Payment | None:
    """Say what was charged under ``key``, if anything was."""
    effect = effects.find(key=key)
    return None if effect is None else _payment(effect)


def fraud_score(amount: Decimal) -> FraudScore:
    """Judge an order. Reads only."""
    return FraudScore(40 if amount > LARGE_AMOUNT else 5)


def _payment(effect: Effect) -> Payment:
    return Payment(f"P-{effect.pk}", Decimal(effect.details["amount"]))
