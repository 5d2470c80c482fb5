"""The shop's order flow by events, in a real worker: whatever happens, the services' tables tell it."""

from uuid import uuid4

import pytest
from django.utils import timezone

from examples.shop.models import Effect, Order
from examples.shop.order_input import FailHow
from examples.shop.orders import announce_order
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.driving import states


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.postgres]


def order(fail_at: str = "", fail_how: str = "") -> Order:
    return Order.objects.create(
        form_key=uuid4(),
        customer_id="ann",
        sku="LAMP",
        quantity=1,
        amount=20,
        country="NL",
        ordered_at=timezone.now(),
        fail_at=fail_at,
        fail_how=fail_how,
    )


def effects(of: Order) -> list[str]:
    """What stands in the services: what was done, and ``-`` what was undone, in that order."""
    mine = Effect.objects.filter(order_id=of.pk)
    done = [(effect.at, effect.action) for effect in mine if effect.at]
    undone = [(effect.undone_at, f"-{effect.action}") for effect in mine if effect.undone_at]
    return [what for _, what in sorted(done) + sorted(undone)]


@pytest.mark.timeout(120)
def test_orders_by_events_are_fulfilled_or_undone_and_each_event_counts_once(
    worker_factory: WorkerFactory, redis_broker: str
) -> None:
    worker_factory(redis_broker, environment={"SAGAS_TEST_DOUBLE_MESSAGES": "1"})
    good, killed = order(), order("process_payment", FailHow.KILL_WORKER)
    lost = order("create_shipment", FailHow.PERMANENT)
    runs = {each.pk: announce_order(each) for each in (good, killed, lost)}
    assert announce_order(good).pk == runs[good.pk].pk
    fulfilled, survived, failed = (runs[each.pk].wait(60) for each in (good, killed, lost))

    assert fulfilled.state == SagaState.COMPLETED
    assert list(states(fulfilled)) == [
        *("OrderCreated", "shop.reserve_stock", "StockReserved", "shop.take_payment"),
        *("PaymentTaken", "shop.send_parcel", "OrderFulfilled"),
    ]
    assert effects(good) == ["reserve", "charge", "ship"]

    # Its process was killed between the charge and its outcome: charged once, and told once.
    assert survived.state == SagaState.COMPLETED
    assert list(states(survived)) == list(states(fulfilled))
    assert effects(killed) == ["reserve", "charge", "ship"]
    assert Effect.objects.get(order_id=killed.pk, action="charge").calls == 2

    assert failed.state == SagaState.COMPENSATED
    assert failed.error_code == "ShipmentFailed"
    assert effects(lost) == ["reserve", "charge", "-charge", "-reserve"]
