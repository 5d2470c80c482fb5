"""The shop's pages: an order and its saga together, shown truthfully and safely."""

import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from examples.shop.models import Order
from sagas.models import SagaRun
from tests.driving import drive, run_one


pytestmark = pytest.mark.django_db

EVIL = "<script>alert('x')</script>"
UNKNOWN = "01900000-0000-7000-8000-000000000000"


def answers(**changes: str) -> dict[str, str]:
    """What a browser sends for a filled-in form."""
    return {
        "form_key": str(uuid.uuid4()),
        "customer": "Ada",
        "sku": "LAMP",
        "quantity": "2",
        "country": "NL",
        "fail_at": "",
        "fail_how": "permanent",
        **changes,
    }


def place(client: Client, **changes: str) -> SagaRun:
    client.post(reverse("shop:place"), answers(**changes))
    return SagaRun.objects.latest("id")


def status_of(client: Client, run: SagaRun) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(reverse("shop:status", args=[run.pk])).json()
    return answer


class TestPlacingAnOrder:
    def test_stores_the_order_with_its_saga_and_goes_to_its_page(self, client: Client) -> None:
        response = client.post(reverse("shop:place"), answers())

        order = Order.objects.get()
        assert (order.quantity, str(order.amount)) == (2, "59.80")
        run = SagaRun.objects.get(shop_order=order)
        assert run.key == f"order-{order.pk}"
        assert run.tags == {"customer": "Ada", "sku": "LAMP"}
        assertRedirects(response, reverse("shop:order", args=[order.run_id]))

    def test_twice_with_the_same_form_is_one_order(self, client: Client) -> None:
        form = answers()
        pages = [client.post(reverse("shop:place"), form)["Location"] for _ in range(2)]

        assert pages[0] == pages[1]
        assert Order.objects.count() == SagaRun.objects.count() == 1

    @pytest.mark.parametrize(
        ("field", "value", "complaint"),
        [
            ("quantity", "0", "greater than or equal to 1"),
            ("quantity", "1e9", "Enter a whole number"),
            ("customer", "", "This field is required"),
            ("customer", "x" * 81, "at most 80 characters"),
            ("customer", "a\x00b", "Null characters are not allowed"),
            ("sku", "MOON", "not one of the available choices"),
            ("country", "XX", "not one of the available choices"),
            ("fail_at", "customs_papers", "for orders abroad only"),
            ("fail_at", "no_such_step", "not one of the available choices"),
            ("form_key", "", "The order was not placed"),
        ],
    )
    def test_refuses_what_makes_no_sense(
        self, client: Client, field: str, value: str, complaint: str
    ) -> None:
        response = client.post(reverse("shop:place"), answers(**{field: value}))

        assertContains(response, complaint, status_code=422)
        assert not Order.objects.exists()
        assert not SagaRun.objects.exists()

    def test_needs_the_page_it_came_from(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        assert strict.post(reverse("shop:place"), answers()).status_code == 403

    def test_offers_every_step_and_every_compensation_to_fail(self, client: Client) -> None:
        page = client.get(reverse("shop:place"))
        for name in ("reserve_inventory", "send_confirmation", "refund_payment"):
            assertContains(page, f'<option value="{name}">')


@pytest.mark.django_db(transaction=True)
class TestBothOrNeither:
    def test_no_order_without_a_saga(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object) -> SagaRun:
            raise RuntimeError("no saga today")

        monkeypatch.setattr("examples.shop.orders.start_saga", broken)
        with pytest.raises(RuntimeError, match="no saga today"):
            client.post(reverse("shop:place"), answers())
        assert not Order.objects.exists()

    def test_no_saga_without_an_order(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("the disk is full")

        monkeypatch.setattr(Order, "save_base", _only_first(Order.save_base, broken))
        with pytest.raises(RuntimeError, match="the disk is full"):
            client.post(reverse("shop:place"), answers())
        assert not SagaRun.objects.exists()
        assert not Order.objects.exists()


def _only_first(real: Any, then: Any) -> Any:
    calls: list[int] = []

    def replacement(self: Order, *args: Any, **kwargs: Any) -> None:
        calls.append(1)
        (real if len(calls) == 1 else then)(self, *args, **kwargs)

    return replacement


class TestTheOrderPage:
    def test_follows_the_saga(self, client: Client) -> None:
        run = place(client)
        page = reverse("shop:order", args=[run.pk])
        assertContains(client.get(page), "data-active")
        assertContains(client.get(page), '<noscript><meta http-equiv="refresh"')

        drive(run)
        done = client.get(page)
        assertNotContains(done, "data-active")
        assertContains(done, '<span class="state" data-state="succeeded">Succeeded</span>', count=6)
        assertContains(done, '<span class="state" data-state="skipped">Skipped</span>', count=1)

    def test_shows_what_was_undone_and_why(self, client: Client) -> None:
        run = drive(place(client, fail_at="check_fraud"))
        page = client.get(reverse("shop:order", args=[run.pk]))
        assertContains(page, "this looks like fraud")
        assertContains(page, "FRAUD_SUSPECTED")
        assertContains(page, "refund payment")
        assertContains(page, "Compensated")

    def test_shows_markup_as_text(self, client: Client) -> None:
        run = place(client, customer=EVIL)
        SagaRun.objects.filter(pk=run.pk).update(error=EVIL)
        run.steps.update(error=EVIL)
        for page in (reverse("shop:order", args=[run.pk]), reverse("shop:latest")):
            response = client.get(page)
            assertContains(response, "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;")
            assertNotContains(response, EVIL)

    def test_has_no_inline_script_or_style(self, client: Client) -> None:
        run = place(client, fail_at="process_payment")
        for page in ("/", reverse("shop:latest"), reverse("shop:order", args=[run.pk])):
            text = client.get(page).content.decode()
            assert "<style" not in text
            assert " style=" not in text
            assert " on" not in "".join(part.split(">")[0] for part in text.split("<script")[1:])
            assert all(part.startswith(" src=") for part in text.split("<script")[1:])

    def test_of_an_order_that_does_not_exist_is_not_found(self, client: Client) -> None:
        assert client.get(reverse("shop:order", args=[uuid.uuid4()])).status_code == 404


class TestTheStatus:
    def test_tells_all_of_a_run(self, client: Client) -> None:
        run = place(client)
        run_one(run)
        status = status_of(client, run)

        assert status["id"] == str(run.pk)
        assert (status["label"], status["key"]) == ("shop.FulfilOrder", run.key)
        assert (status["state"], status["outcome"], status["error"]) == ("running", "", "")
        assert status["created"].endswith("+00:00")
        assert status["completed"] is None
        first, second = status["steps"][:2]
        assert (first["name"], first["direction"]) == ("reserve_inventory", "forward")
        assert (first["state"], first["attempt"]) == ("succeeded", 1)
        assert first["started"] <= first["ended"]
        assert second["ended"] is None

    def test_tells_why_it_failed_and_what_was_undone(self, client: Client) -> None:
        run = drive(place(client, fail_at="book_revenue"))
        status = status_of(client, run)

        assert (status["state"], status["outcome"]) == ("compensated", "failed")
        assert status["error"] == "the books of this month are closed"
        undone = [step["name"] for step in status["steps"] if step["direction"] == "backward"]
        assert undone == ["process_payment", "reserve_inventory"]

    @pytest.mark.parametrize("run_id", [UNKNOWN, "nonsense", "1"])
    def test_of_an_order_that_does_not_exist_is_not_found_in_json(
        self, client: Client, run_id: str
    ) -> None:
        response = client.get(f"/orders/{run_id}/status.json")
        assert response.status_code == 404
        assert response.json() == {"error": "no such order"}

    def test_is_asked_with_get_only(self, client: Client) -> None:
        run = place(client)
        assert client.post(reverse("shop:status", args=[run.pk])).status_code == 405


class TestTheLatestOrders:
    def test_cost_the_same_however_many(
        self, client: Client, django_assert_num_queries: Any
    ) -> None:
        for _ in range(5):
            place(client)
        with django_assert_num_queries(1):
            assertContains(client.get(reverse("shop:latest")), "Ada", count=5)

    def test_survive_that_a_run_was_purged(self, client: Client) -> None:
        run = place(client)
        run.events.all().delete()
        run.steps.all().delete()
        run.delete()
        assertContains(client.get(reverse("shop:latest")), "forgotten")


class TestMending:
    def test_lets_a_retried_dead_letter_come_to_its_end(self, client: Client) -> None:
        from sagas.operations import retry_saga  # noqa: PLC0415

        run = drive(place(client, fail_at="refund_payment"))
        assert run.state == "dead_letter"
        client.post(reverse("shop:mend", args=[run.pk]))
        retry_saga(run, reason="the cause is mended", actor="test")
        assert drive(run).state == "compensated"

    def test_is_asked_with_post_only(self, client: Client) -> None:
        run = place(client, fail_at="refund_payment")
        assert client.get(reverse("shop:mend", args=[run.pk])).status_code == 405
