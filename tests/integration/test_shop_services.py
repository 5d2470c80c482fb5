"""The services stand for other companies' systems: idempotent, and independent of our transactions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from examples.shop.catalogue import PRODUCTS
from examples.shop.models import Effect, StockItem
from examples.shop.services import inventory, payments, shipping
from sagas import PermanentError


pytestmark = pytest.mark.django_db


def level(sku: str = "LAMP") -> int:
    return StockItem.objects.get(pk=sku).level


def at_once(call: Callable[[], Any], times: int) -> list[Any]:
    def called() -> Any:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        calls = [pool.submit(called) for _ in range(times)]
    return [done.result() for done in calls]


class TestTheSameKeyAgain:
    def test_gives_the_first_result_and_no_second_effect(self) -> None:
        first = inventory.reserve(1, "LAMP", 3, key="k")
        again = inventory.reserve(1, "LAMP", 3, key="k")

        assert again == first
        assert level() == PRODUCTS["LAMP"].stock - 3
        assert Effect.objects.get().calls == 2

    def test_for_something_else_is_refused(self) -> None:
        payments.charge(1, "ada", Decimal("10.00"), key="k")

        with pytest.raises(PermanentError) as refusal:
            payments.charge(1, "ada", Decimal("11.00"), key="k")
        assert refusal.value.code == "KEY_REUSED"

    def test_after_a_refusal_is_judged_anew(self) -> None:
        for _ in range(2):
            with pytest.raises(PermanentError, match="fewer than 4 of CLOCK left"):
                inventory.reserve(1, "CLOCK", 4, key="k")

        assert not Effect.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestTwoCallersAtOnce:
    def test_with_one_key_share_one_effect(self) -> None:
        results = at_once(lambda: inventory.reserve(1, "LAMP", 3, key="k"), times=4)

        assert len(set(results)) == 1
        assert level() == PRODUCTS["LAMP"].stock - 3
        assert Effect.objects.get().calls == 4

    def test_undo_once(self) -> None:
        inventory.reserve(1, "LAMP", 3, key="k")
        at_once(lambda: inventory.release(1, key="k"), times=4)

        assert level() == PRODUCTS["LAMP"].stock
        assert Effect.objects.get().undo_calls == 4


class TestUndoing:
    def test_gives_back_once_however_often_it_is_asked(self) -> None:
        inventory.reserve(1, "LAMP", 3, key="k")
        for _ in range(3):
            inventory.release(1, key="k")

        assert level() == PRODUCTS["LAMP"].stock
        effect = Effect.objects.get()
        assert (effect.undo_calls, effect.stands) == (3, False)

    def test_what_never_happened_does_nothing_and_forbids_it_for_ever(self) -> None:
        payments.refund(1, key="k")
        payments.refund(1, key="k")

        with pytest.raises(PermanentError) as refusal:
            payments.charge(1, "ada", Decimal("10.00"), key="k")
        assert refusal.value.code == "CANCELLED"
        assert payments.find(key="k") is None

    def test_leaves_other_keys_alone(self) -> None:
        inventory.reserve(1, "LAMP", 3, key="k")
        inventory.reserve(2, "LAMP", 2, key="l")
        inventory.release(1, key="k")

        assert level() == PRODUCTS["LAMP"].stock - 2


class TestFinding:
    def test_knows_what_stands_only(self) -> None:
        assert payments.find(key="k") is None
        charged = payments.charge(1, "ada", Decimal("10.00"), key="k")
        assert payments.find(key="k") == charged
        payments.refund(1, key="k")
        assert payments.find(key="k") is None


@pytest.mark.django_db(transaction=True)
class TestAnotherCompanysDatabase:
    def test_takes_no_part_in_our_transaction(self) -> None:
        with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
            shipping.ship(1, "NL", "none", key="k")

    def test_in_trouble_looks_like_no_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(**_: object) -> None:
            from django.db import OperationalError  # noqa: PLC0415

            raise OperationalError("server closed the connection")

        monkeypatch.setattr(Effect.objects, "get_or_create", broken)
        with pytest.raises(ConnectionError, match="did not answer"):
            shipping.ship(1, "NL", "none", key="k")
