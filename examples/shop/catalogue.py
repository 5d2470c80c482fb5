"""What the shop sells, and where to."""

from dataclasses import dataclass
from decimal import Decimal


HOME_COUNTRY = "NL"
COUNTRIES = {
    "NL": "Netherlands",
    "CH": "Switzerland",
    "GB": "United Kingdom",
    "JP": "Japan",
    "US": "United States",
}


@dataclass(frozen=True)
class Product:
    name: str
    price: Decimal
    stock: int
    """How many the warehouse got from the manufacturer."""


PRODUCTS = {
    "TEAPOT": Product("Cast-iron teapot", Decimal("64.50"), 100_000),
    "LAMP": Product("Paper lamp", Decimal("29.90"), 100_000),
    "CHAIR": Product("Folding chair", Decimal("119.00"), 100_000),
    "CLOCK": Product("Last of the station clocks", Decimal("480.00"), 3),
}
