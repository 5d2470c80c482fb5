"""What a user writes. A type checker has nothing to say about it, with no plugin of ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, assert_type

from sagas import PermanentError, Saga, start_saga, step
from sagas.definitions import InputStep, PlanItem, Step, StepHandle, UndoneStep
from sagas.models import SagaRun
from sagas.operations import PreviewedStep, preview_plan
from sagas.testing import (
    CrashPoint,
    Failure,
    assert_every_failure_is_undone,
    crash_points,
    fail_at,
    run_saga,
)


@dataclass(frozen=True)
class OrderInput:
    order_id: int
    customer_id: str
    country: str


@dataclass(frozen=True)
class Reservation:
    reference: str


@dataclass(frozen=True)
class Payment:
    reference: str
    amount: Decimal


@dataclass(frozen=True)
class Papers:
    number: str


class FulfilOrder(Saga[OrderInput]):
    """Reserve, charge, ship, tell the customer."""

    class Meta:
        label = "typing.FulfilOrder"
        version = 1
        key = "order-{input.order_id}"
        timeout = timedelta(minutes=15)
        tags = {"customer": "{input.customer_id}"}
        step_defaults = {"max_retries": 5, "retry_backoff": True}
        on_compensation_failure = "stop"

    @classmethod
    def migrate(cls, version: int, data: Any) -> Any:
        return {"country": "CH", **data} if version < 1 else data

    @step(queue="inventory", formerly="reserve")
    def reserve_inventory(self) -> Reservation:
        assert_type(self.input, OrderInput)
        return Reservation(f"{self.input.order_id}/{self.idempotency_key}/{self.attempt}")

    @reserve_inventory.compensation
    def release_inventory(self, reservation: Reservation | None) -> None:
        assert_type(self.undoing, UndoneStep)
        self.logger.info("released %s", reservation.reference if reservation else "nothing")

    @step(after=[reserve_inventory], queue="payments", time_limit=30, rate_limit="50/s")
    def process_payment(self) -> Payment:
        assert_type(self.reserve_inventory, StepHandle[Reservation])
        if self.reserve_inventory.result.reference:
            return Payment("paid", Decimal(1))
        raise PermanentError("card declined", code="CARD_DECLINED")

    @process_payment.compensation(max_retries=20, queue="slow")
    def refund_payment(self, payment: Payment | None) -> None: ...

    @process_payment.reconcile
    def find_payment(self) -> Payment | None:
        return None

    @step(after=[reserve_inventory])
    def check_fraud(self) -> float:
        return 0.5

    check_fraud.no_compensation("reads only")

    @step(after=[process_payment, check_fraud])
    def customs_papers(self) -> Papers:
        return Papers("1")

    customs_papers.no_compensation("papers expire unused")

    @customs_papers.condition
    def is_abroad(self) -> bool:
        return self.input.country != "CH"

    @step(atomic=True)
    def book_revenue(self) -> None:
        self.set_tags(revenue="booked")

    @book_revenue.compensation(atomic=True)
    def reverse_revenue(self, _: None) -> None: ...

    @step(pivot=True)
    def create_shipment(self) -> str:
        papers = self.customs_papers.result_or(None)
        assert_type(papers, Papers | None)
        return papers.number if papers else "domestic"

    @step
    def label_parcel(self, papers: Papers) -> int:
        return len(papers.number)

    @label_parcel.inputs
    def papers_of_parcel(self) -> Papers:
        return self.customs_papers.result_or(Papers("none"))

    @step(queue="slow", formerly=("weigh", "weigh_box"))
    def weigh_parcel(self, papers: Papers) -> int:
        return len(papers.number)

    @weigh_parcel.inputs
    def papers_to_weigh(self) -> Papers:
        return Papers("1")

    @weigh_parcel.reconcile
    def find_weight(self, papers: Papers) -> int | None:
        return None

    @step(critical=False)
    def send_confirmation(self) -> None:
        assert_type(self.create_shipment.result, str)


class Parcels(Saga[OrderInput]):
    """One parcel for each part."""

    @step
    def pack(self, number: int) -> str:
        return str(number)

    pack.no_compensation("a parcel is unpacked by whoever gets it")

    @step
    def tell(self) -> int:
        assert_type(self.pack.results, list[str])
        return len(self.pack.results)

    tell.no_compensation("a word")

    @classmethod
    def plan(cls, order: OrderInput) -> Iterator[PlanItem]:
        first = cls.pack.bind(0, name="pack[0]")
        yield first
        yield cls.pack.bind(order.order_id, name="pack[1]", after=[first])
        yield FulfilOrder
        yield cls.tell.bind(after=[cls.pack, FulfilOrder.create_shipment])


assert_type(preview_plan(Parcels, OrderInput(1, "ada", "CH")), list[PreviewedStep])

order = OrderInput(order_id=7, customer_id="ada", country="CH")
run = start_saga(FulfilOrder, order, key="order-7", tags={"channel": "web"})
assert_type(run, SagaRun)
start_saga("typing.FulfilOrder", {"order_id": 7}, key="order-7")

in_a_test = FulfilOrder(order, results={"reserve_inventory": Reservation("r")})
assert_type(in_a_test.process_payment(), Payment)
assert_type(in_a_test.weigh_parcel(Papers("1")), int)
assert_type(FulfilOrder.weigh_parcel, InputStep[FulfilOrder, Papers, int])
in_a_test.release_inventory(None)
in_a_test.refund_payment(Payment("paid", Decimal(1)))
assert_type(in_a_test.is_abroad(), bool)
assert_type(FulfilOrder.check_fraud, Step[FulfilOrder, float])

with fail_at(FulfilOrder, "process_payment") as failure:
    assert_type(run_saga(run), SagaRun)
assert_type(failure, Failure)
with fail_at(FulfilOrder, FulfilOrder.refund_payment, error=TimeoutError, times=1):
    pass
for point in crash_points(FulfilOrder):
    assert_type(point, CrashPoint[OrderInput])
    with point.play(order, start=lambda given: start_saga(FulfilOrder, given)) as played:
        assert_type(played.run, SagaRun)
assert_every_failure_is_undone(FulfilOrder, order, check=SagaRun.explain)
