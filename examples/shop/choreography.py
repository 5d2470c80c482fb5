"""The same order flow without a coordinator: three services, each of which knows only events.

    OrderCreated → reserve_stock → StockReserved → take_payment → PaymentTaken → send_parcel → OrderFulfilled

When no parcel can be sent, ``send_parcel`` fails with ``ShipmentFailed``: the payment is given back, then
the stock. ``orders.announce_order`` publishes the first event.
"""

from examples.shop.failures import staged_failure
from examples.shop.order_input import OrderInput
from examples.shop.services import inventory, payments, shipping
from examples.shop.services.inventory import Reservation
from examples.shop.services.payments import Payment
from examples.shop.services.shipping import Shipment
from sagas import Event, PermanentError, on_event, publish
from sagas.exceptions import FailureEvent


# The warehouse


@on_event("OrderCreated", queue="inventory")
def reserve_stock(event: Event[OrderInput]) -> Reservation:
    order = event.data
    with staged_failure(order, "reserve_inventory", event.attempt):
        reservation = inventory.reserve(
            order.order_id, order.sku, order.quantity, key=event.idempotency_key
        )
    publish("StockReserved", order)
    return reservation


@reserve_stock.compensation
def release_stock(event: Event[OrderInput], _reservation: Reservation | None) -> None:
    inventory.release(event.data.order_id, key=event.undoing.idempotency_key)


# The cashier


@on_event("StockReserved", queue="payments")
def take_payment(event: Event[OrderInput]) -> Payment:
    order = event.data
    with staged_failure(order, "process_payment", event.attempt):
        payment = payments.charge(
            order.order_id, order.customer_id, order.amount, key=event.idempotency_key
        )
    publish("PaymentTaken", order)
    return payment


@take_payment.compensation
def give_back_payment(event: Event[OrderInput], _payment: Payment | None) -> None:
    payments.refund(event.data.order_id, key=event.undoing.idempotency_key)


# The carrier


@on_event("PaymentTaken", queue="shipping")
def send_parcel(event: Event[OrderInput]) -> Shipment:
    order = event.data
    try:
        with staged_failure(order, "create_shipment", event.attempt):
            shipment = shipping.ship(
                order.order_id, order.country, "none needed", key=event.idempotency_key
            )
    except PermanentError as refusal:
        raise FailureEvent("ShipmentFailed", order, str(refusal)) from refusal
    publish("OrderFulfilled", shipment)
    return shipment


send_parcel.no_compensation("it is the last: nothing after it can fail")
