"""The audit finds whatever is not as the outcomes say."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from examples.shop.audit import disagreements, remains
from examples.shop.models import Effect, Ledger, StockItem
from examples.shop.orders import Wish, place_order
from sagas.models import SagaRun
from tests.driving import drive


pytestmark = pytest.mark.django_db

Damage = Callable[[], object]


def fulfil(fail_at: str = "") -> SagaRun:
    run = place_order(
        Wish(customer_id="ada", sku="LAMP", country="JP", fail_at=fail_at, fail_how="permanent")
    ).run
    assert run is not None
    return drive(run)


def effect(of: str, /, **changes: object) -> Damage:
    return lambda: Effect.objects.filter(action=of).update(**changes)


def again(action: str) -> None:
    second = Effect.objects.get(action=action)
    second.pk, second.key = None, "another key"
    second.save()


def book_again() -> None:
    booking = Ledger.objects.first()
    assert booking is not None
    Ledger.objects.create(order_id=booking.order_id, amount=booking.amount, at=booking.at)


class TestACompletedOrder:
    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            (lambda: Effect.objects.filter(action="charge").delete(), "charge stands 0 times"),
            (lambda: Effect.objects.filter(action="papers").delete(), "papers stands 0 times"),
            (effect("charge", undone_at=timezone.now()), "something was undone"),
            (effect("charge", details={"amount": "1.00"}), "1.00 was charged, not 29.90"),
            (effect("reserve", details={"sku": "LAMP", "quantity": 2}), "was reserved, not 1"),
            (lambda: again("ship"), "ship was asked for under 2 keys"),
            (lambda: Ledger.objects.all().delete(), "the books say 0"),
            (book_again, "the revenue was booked 2 times"),
            (lambda: StockItem.objects.update(level=F("level") - 1), "LAMP: 99998 on the shelf"),
        ],
    )
    def test_has_each_effect_exactly_once(self, damage: Damage, problem: str) -> None:
        run = fulfil()
        assert disagreements([run]) == []
        damage()
        assert any(problem in line for line in disagreements([run]))

    def test_with_a_warning_may_lack_its_confirmation(self) -> None:
        run = fulfil("send_confirmation")
        assert not Effect.objects.filter(action="confirm").exists()
        assert disagreements([run]) == []


class TestACompensatedOrder:
    @pytest.mark.parametrize(
        ("damage", "problem"),
        [
            (effect("reserve", undone_at=None), "reserve was not undone"),
            (effect("charge", undone_at=None), "charge was not undone"),
            (
                effect("charge", undone_at=timezone.now() + timedelta(hours=1)),
                "not undone in reverse order",
            ),
            (
                lambda: Ledger.objects.filter(amount__lt=0).delete(),
                "the books still say 29.90",
            ),
            (effect("papers", action="ship"), "ship happened, and cannot be undone"),
        ],
    )
    def test_has_everything_undone_in_reverse(self, damage: Damage, problem: str) -> None:
        run = fulfil("create_shipment")
        assert disagreements([run]) == []
        damage()
        assert any(problem in line for line in disagreements([run]))


class TestOtherOrders:
    def test_that_have_not_ended_are_named(self) -> None:
        order = place_order(Wish(customer_id="ada", sku="LAMP"))
        assert order.run is not None
        assert disagreements([order.run]) == [f"order-{order.pk} (running): it has not ended"]

    def test_that_are_dead_letters_are_not_wrong_but_listed(self) -> None:
        run = fulfil("refund_payment")
        assert disagreements([run]) == []
        assert remains([run]) == [f"{run.key}: reserve stands, charge stands"]

    def test_are_judged_in_a_few_queries(self, django_assert_num_queries: object) -> None:
        runs = [fulfil() for _ in range(5)]
        with django_assert_num_queries(3):  # type: ignore[operator]
            assert disagreements(runs) == []
