"""The saga that fulfils an order: reserve, charge, book, ship, tell the customer."""

from datetime import timedelta

from django.db.models import Sum
from django.utils import timezone

from examples.shop import choreography  # noqa: F401 its reactions are discovered with the saga
from examples.shop.catalogue import HOME_COUNTRY
from examples.shop.failures import staged_failure
from examples.shop.models import Ledger
from examples.shop.order_input import OrderInput
from examples.shop.services import inventory, notifications, payments, shipping
from examples.shop.services.inventory import Reservation
from examples.shop.services.payments import FraudScore, Payment
from examples.shop.services.shipping import Papers, Shipment
from sagas import Saga, step


class FulfilOrder(Saga[OrderInput]):
    """Reserve, charge, ship, tell the customer."""

    class Meta:
        label = "shop.FulfilOrder"
        version = 1
        key = "order-{input.order_id}"
        timeout = timedelta(minutes=15)
        tags = {"customer": "{input.customer_id}", "sku": "{input.sku}"}
        step_defaults = {"max_retries": 3, "retry_backoff": True, "retry_backoff_max": 10}

    @step(queue="inventory")
    def reserve_inventory(self) -> Reservation:
        order = self.input
        with staged_failure(order, "reserve_inventory", self.attempt):
            return inventory.reserve(
                order.order_id, order.sku, order.quantity, key=self.idempotency_key
            )

    @reserve_inventory.compensation
    def release_inventory(self, _reservation: Reservation | None) -> None:
        with staged_failure(self.input, "release_inventory", self.attempt):
            inventory.release(self.input.order_id, key=self.undoing.idempotency_key)

    @step(after=[reserve_inventory], queue="payments", time_limit=30, rate_limit="50/s")
    def process_payment(self) -> Payment:
        order = self.input
        with staged_failure(order, "process_payment", self.attempt):
            return payments.charge(
                order.order_id, order.customer_id, order.amount, key=self.idempotency_key
            )

    @process_payment.compensation
    def refund_payment(self, _payment: Payment | None) -> None:
        with staged_failure(self.input, "refund_payment", self.attempt):
            payments.refund(self.input.order_id, key=self.undoing.idempotency_key)

    @process_payment.reconcile
    def find_payment(self) -> Payment | None:
        return payments.find(key=self.idempotency_key)

    @step(after=[reserve_inventory], queue="payments")
    def check_fraud(self) -> FraudScore:
        with staged_failure(self.input, "check_fraud", self.attempt):
            return payments.fraud_score(self.input.amount)

    check_fraud.no_compensation("reads only")

    @step(after=[process_payment, check_fraud], queue="shipping")
    def customs_papers(self) -> Papers:
        order = self.input
        with staged_failure(order, "customs_papers", self.attempt):
            return shipping.customs_papers(order.order_id, order.country, key=self.idempotency_key)

    customs_papers.no_compensation("papers expire unused")

    @customs_papers.condition
    def is_abroad(self) -> bool:
        return self.input.country != HOME_COUNTRY

    @step(atomic=True)
    def book_revenue(self) -> None:
        order = self.input
        with staged_failure(order, "book_revenue", self.attempt):
            Ledger.objects.create(order_id=order.order_id, amount=order.amount, at=timezone.now())

    @book_revenue.compensation(atomic=True)
    def reverse_revenue(self, _: None) -> None:
        order_id = self.input.order_id
        with staged_failure(self.input, "reverse_revenue", self.attempt):
            booked = Ledger.objects.filter(order_id=order_id).aggregate(Sum("amount"))
            if booked["amount__sum"]:
                Ledger.objects.create(
                    order_id=order_id, amount=-booked["amount__sum"], at=timezone.now()
                )

    @step(pivot=True, queue="shipping")
    def create_shipment(self) -> Shipment:
        order = self.input
        papers = self.customs_papers.result_or(Papers("none needed"))
        with staged_failure(order, "create_shipment", self.attempt):
            return shipping.ship(
                order.order_id, order.country, papers.reference, key=self.idempotency_key
            )

    @step(critical=False, queue="notifications")
    def send_confirmation(self) -> None:
        order, tracking = self.input, self.create_shipment.result.tracking
        with staged_failure(order, "send_confirmation", self.attempt):
            notifications.send_confirmation(
                order.order_id, order.customer_id, tracking, key=self.idempotency_key
            )
