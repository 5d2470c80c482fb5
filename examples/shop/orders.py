"""Placing an order."""

from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from examples.shop.catalogue import HOME_COUNTRY, PRODUCTS
from examples.shop.models import Order
from examples.shop.order_input import OrderInput
from examples.shop.sagas import FulfilOrder
from sagas import publish, start_saga
from sagas.models import SagaRun


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a customer sends in."""

    customer_id: str
    sku: str
    quantity: int = 1
    country: str = HOME_COUNTRY
    fail_at: str = ""
    fail_how: str = ""
    form_key: UUID = field(default_factory=uuid4)

    @property
    def amount(self) -> Decimal:
        return PRODUCTS[self.sku].price * self.quantity


def place_order(wish: Wish) -> Order:
    """Store the order and start its saga: both or neither. The same form again is the same order."""
    with transaction.atomic():
        order, is_new = Order.objects.get_or_create(
            form_key=wish.form_key,
            defaults={
                "customer_id": wish.customer_id,
                "sku": wish.sku,
                "quantity": wish.quantity,
                "amount": wish.amount,
                "country": wish.country,
                "ordered_at": timezone.now(),
                "fail_at": wish.fail_at,
                "fail_how": wish.fail_how,
            },
        )
        if is_new:
            order.run = start_saga(FulfilOrder, _saga_input(order))
            order.save(update_fields=["run"])
    return order


def announce_order(order: Order) -> SagaRun:
    """Have an order fulfilled by events instead; returns its trace. Announced twice, it is one order."""
    return publish("OrderCreated", _saga_input(order), key=f"order-{order.pk}")


def _saga_input(order: Order) -> OrderInput:
    return OrderInput(
        order_id=order.pk,
        customer_id=order.customer_id,
        sku=order.sku,
        quantity=order.quantity,
        amount=order.amount,
        country=order.country,
        ordered_at=order.ordered_at,
        fail_at=order.fail_at,
        fail_how=order.fail_how,
    )
