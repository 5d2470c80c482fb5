"""The order saga: at whichever step it fails, books and stock agree with its outcome."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from examples.booking.insurance import InsureTrip
from examples.booking.sagas import BookTrip
from examples.shop.audit import disagreements, remains
from examples.shop.models import Effect, Ledger
from examples.shop.order_input import FailHow, OrderInput
from examples.shop.orders import Wish, place_order
from examples.shop.sagas import FulfilOrder
from sagas.definitions import registry
from sagas.models import SagaRun
from sagas.testing import assert_every_failure_is_undone
from tests.driving import drive, states, step_of


pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.shop.failures.SLOW_SECONDS", 0)


def fulfil(fail_at: str = "", fail_how: str = "permanent", country: str = "JP") -> SagaRun:
    wish = Wish(
        customer_id="ada",
        sku="LAMP",
        quantity=2,
        country=country,
        fail_at=fail_at,
        fail_how=fail_how,
    )
    run = place_order(wish).run
    assert run is not None
    return drive(run)


class TestAnOrderThatGoesWell:
    def test_is_reserved_charged_booked_shipped_and_confirmed(self) -> None:
        run = fulfil()
        assert run.state == "completed"
        actions = Effect.objects.order_by("at").values_list("action", flat=True)
        assert list(actions) == ["reserve", "charge", "papers", "ship", "confirm"]
        assert Ledger.objects.get().amount == run.shop_order.amount
        assert disagreements([run]) == []

    def test_needs_no_customs_papers_at_home(self) -> None:
        run = fulfil(country="NL")
        assert states(run)["customs_papers"] == "skipped"
        assert disagreements([run]) == []


class TestAStepThatSaysNo:
    @pytest.mark.parametrize(
        ("step", "undone"),
        [
            ("reserve_inventory", []),
            ("process_payment", ["release_inventory"]),
            ("check_fraud", ["refund_payment", "release_inventory"]),
            ("customs_papers", ["refund_payment", "release_inventory"]),
            ("book_revenue", ["refund_payment", "release_inventory"]),
            ("create_shipment", ["reverse_revenue", "refund_payment", "release_inventory"]),
        ],
    )
    def test_before_the_pivot_turns_the_order_back(self, step: str, undone: list[str]) -> None:
        run = fulfil(step)
        assert run.state == "compensated"
        assert (run.failed_step, step_of(run, step).state) == (step, "failed")
        assert [row.handler for row in run.steps.backward()] == undone
        assert disagreements([run]) == []

    def test_that_is_not_critical_is_a_warning(self) -> None:
        run = fulfil("send_confirmation")
        assert (run.state, run.has_warnings) == ("completed", True)
        assert disagreements([run]) == []


class TestTheNetwork:
    @pytest.mark.parametrize("how", [FailHow.NETWORK, FailHow.SLOW, FailHow.KILL_WORKER])
    @pytest.mark.parametrize("step", [step.name for step in FulfilOrder.definition.steps])
    def test_in_trouble_for_a_moment_leaves_one_effect(self, step: str, how: str) -> None:
        run = fulfil(step, how)
        assert run.state == "completed"
        assert not run.has_warnings
        assert disagreements([run]) == []

    @pytest.mark.parametrize("step", ["reserve_inventory", "check_fraud", "book_revenue"])
    def test_down_before_the_pivot_turns_the_order_back(self, step: str) -> None:
        run = fulfil(step, FailHow.OUTAGE)
        assert run.state == "compensated"
        assert disagreements([run]) == []

    def test_down_at_the_payment_ends_either_way_and_never_in_between(self) -> None:
        run = fulfil("process_payment", FailHow.OUTAGE)
        assert run.state in {"completed", "compensated"}
        assert disagreements([run]) == []

    def test_down_at_the_pivot_is_for_a_human(self) -> None:
        run = fulfil("create_shipment", FailHow.OUTAGE)
        assert run.state == "dead_letter"
        assert disagreements([run]) == []
        assert remains([run]) == [
            f"{run.key}: reserve stands, charge stands, ship stands, 59.80 in the books"
        ]


class TestACompensationThatFails:
    @pytest.mark.parametrize(
        ("step", "standing"),
        [
            ("reverse_revenue", "reserve stands, charge stands, 59.80 in the books"),
            ("refund_payment", "reserve stands, charge stands"),
            ("release_inventory", "reserve stands"),
        ],
    )
    def test_stops_there_and_says_what_remains(self, step: str, standing: str) -> None:
        run = fulfil(step)
        assert run.state == "dead_letter"
        assert remains([run]) == [f"{run.key}: {standing}"]
        assert disagreements([run]) == []

    @pytest.mark.parametrize("step", ["reverse_revenue", "refund_payment", "release_inventory"])
    def test_for_a_moment_is_repeated(self, step: str) -> None:
        run = fulfil(step, FailHow.NETWORK)
        assert run.state == "compensated"
        assert disagreements([run]) == []


class TestEveryFailure:
    """Each step fails before its effect, after it, and in its undoing (R111)."""

    ORDER = OrderInput(
        order_id=7,
        customer_id="ada",
        sku="LAMP",
        quantity=2,
        amount=Decimal("59.80"),
        country="JP",
        ordered_at=datetime(2026, 3, 1, tzinfo=UTC),
    )

    def test_leaves_books_and_stock_as_the_outcome_says(self) -> None:
        ends: Counter[str] = Counter()

        def check(run: SagaRun) -> None:
            ends[run.state] += 1
            assert not disagreements([run])

        assert_every_failure_is_undone(FulfilOrder, self.ORDER, check=check)
        assert ends == {"compensated": 13, "completed": 4, "dead_letter": 1}

    def test_every_example_is_tried(self) -> None:
        """Those of the booking in ``test_booking.py``."""
        examples = [saga for saga in registry.all() if saga.__module__.startswith("examples.")]
        assert set(examples) == {FulfilOrder, BookTrip, InsureTrip}


def test_a_handler_can_be_called_without_an_engine() -> None:
    saga = FulfilOrder(FulfilOrder.definition.input_codec.load(fulfil().input))
    assert saga.check_fraud().points == 5
    assert saga.is_abroad()
