"""The warehouse: it keeps goods aside, and puts them back."""

from dataclasses import dataclass

from django.db.models import F

from examples.shop.catalogue import PRODUCTS
from examples.shop.models import Effect, StockItem
from examples.shop.services import effects
from sagas import PermanentError


SERVICE = "inventory"
RESERVE = "reserve"


@dataclass(frozen=True)
class Reservation:
    reference: str
    sku: str
    quantity: int


def reserve(order_id: int, sku: str, quantity: int, *, key: str) -> Reservation:
    """Keep ``quantity`` pieces aside.

    Raises:
        PermanentError: there are not enough.
    """
    effect = effects.perform(
        SERVICE,
        RESERVE,
        key=key,
        order_id=order_id,
        details={"sku": sku, "quantity": quantity},
        apply=lambda: _take_from_shelf(sku, quantity),
    )
    return Reservation(f"R-{effect.pk}", sku, quantity)


def release(order_id: int, *, key: str) -> None:
    """Put back what was kept aside under ``key``."""
    effects.undo(SERVICE, RESERVE, key=key, order_id=order_id, apply=_put_back)


def _take_from_shelf(sku: str, quantity: int) -> None:
    delivered = PRODUCTS[sku].stock
    StockItem.objects.get_or_create(sku=sku, defaults={"initial": delivered, "level": delivered})
    enough = StockItem.objects.filter(sku=sku, level__gte=quantity)
    if not enough.update(level=F("level") - quantity):
        raise PermanentError(f"fewer than {quantity} of {sku} left", code="OUT_OF_STOCK")


def _put_back(effect: Effect) -> None:
    shelf = StockItem.objects.filter(sku=effect.details["sku"])
    shelf.update(level=F("level") + effect.details["quantity"])
