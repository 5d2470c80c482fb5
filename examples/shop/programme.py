"""The orders of the demo, and what must become of each."""

from dataclasses import dataclass
from itertools import cycle, islice

from examples.shop.order_input import FailHow
from examples.shop.orders import Wish
from sagas.states import SagaState


@dataclass(frozen=True)
class Planned:
    wish: Wish
    outcome_when_undone: SagaState


_CUSTOMERS = ("Ada", "Grace", "Edsger", "Barbara", "Tony")
_GOODS = ("TEAPOT", "LAMP", "CHAIR")

# step, how it fails, how often, what becomes of the order
_FAILURES = (
    ("process_payment", FailHow.SLOW, 3, SagaState.COMPLETED),
    ("reserve_inventory", FailHow.PERMANENT, 1, SagaState.COMPENSATED),
    ("process_payment", FailHow.PERMANENT, 3, SagaState.COMPENSATED),
    ("check_fraud", FailHow.PERMANENT, 2, SagaState.COMPENSATED),
    ("customs_papers", FailHow.PERMANENT, 1, SagaState.COMPENSATED),
    ("create_shipment", FailHow.PERMANENT, 2, SagaState.COMPENSATED),
    ("book_revenue", FailHow.PERMANENT, 1, SagaState.COMPENSATED),
    ("release_inventory", FailHow.NETWORK, 1, SagaState.COMPENSATED),
    ("refund_payment", FailHow.PERMANENT, 1, SagaState.DEAD_LETTER),
    ("send_confirmation", FailHow.PERMANENT, 1, SagaState.COMPLETED),
    ("process_payment", FailHow.NETWORK, 2, SagaState.COMPLETED),
    ("create_shipment", FailHow.NETWORK, 1, SagaState.COMPLETED),
    ("process_payment", FailHow.KILL_WORKER, 1, SagaState.COMPLETED),
    ("", "", 20, SagaState.COMPLETED),
)


def programme() -> list[Planned]:
    """Return forty orders, the difficult ones spread among the others."""
    failures = [
        (step, how, outcome_when_undone)
        for step, how, times, outcome_when_undone in _FAILURES
        for _ in range(times)
    ]
    # A stride without a common divisor visits each of them once, far from its likes.
    spread = list(islice(cycle(failures), 0, len(failures) * 7, 7))
    return [
        Planned(_wish(number, step, how), outcome_when_undone)
        for number, (step, how, outcome_when_undone) in enumerate(spread)
    ]


def _wish(number: int, step: str, how: str) -> Wish:
    needs_customs = step == "customs_papers" or number % 3 == 0
    return Wish(
        customer_id=_CUSTOMERS[number % len(_CUSTOMERS)],
        sku=_GOODS[number % len(_GOODS)],
        quantity=1 + number % 4,
        country="JP" if needs_customs else "NL",
        fail_at=step,
        fail_how=str(how),
    )
