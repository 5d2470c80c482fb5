"""The carrier: papers for the customs, and shipments that nobody can call back."""

from dataclasses import dataclass

from examples.shop.services import effects


SERVICE = "shipping"
PAPERS = "papers"
SHIP = "ship"


@dataclass(frozen=True)
class Papers:
    reference: str


@dataclass(frozen=True)
class Shipment:
    tracking: str


def customs_papers(order_id: int, country: str, *, key: str) -> Papers:
    """Draw up papers for ``country``; they expire unused."""
    effect = effects.perform(
        SERVICE, PAPERS, key=key, order_id=order_id, details={"country": country}
    )
    return Papers(f"C-{effect.pk}")


def ship(order_id: int, country: str, papers: str, *, key: str) -> Shipment:
    """Hand the goods to a driver."""
    effect = effects.perform(
        SERVICE, SHIP, key=key, order_id=order_id, details={"country": country, "papers": papers}
    )
    return Shipment(f"S-{effect.pk}")
