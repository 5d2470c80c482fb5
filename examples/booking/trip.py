"""What a booking is started with, and what its steps give each other."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Line:
    """One thing to be booked, such as ``flight-1`` or ``room-2``."""

    id: str
    cents: int


@dataclass(frozen=True)
class Trip:
    """Who travels, until when the passport is good, and what is to be booked."""

    trip_id: str
    ends_on: date
    passport_valid_until: date
    lines: list[Line]
    insured: bool = False

    @property
    def cents(self) -> int:
        """What the trip costs; 0 if it is paid in miles."""
        return sum(line.cents for line in self.lines)


@dataclass(frozen=True)
class Booking:
    """What an airline or a hotel has kept for us."""

    locator: str


@dataclass(frozen=True)
class Payment:
    """What the payments team has charged."""

    reference: str
    cents: int


@dataclass(frozen=True)
class ChargeRequest:
    """The arguments of the payments team's ``booking.charge``."""

    trip_id: str
    cents: int
    key: str


@dataclass(frozen=True)
class RefundRequest:
    """The arguments of the payments team's ``booking.refund``."""

    trip_id: str
    key: str


@dataclass(frozen=True)
class Insurance:
    """What the insurer is told of a trip."""

    trip_id: str
    cents: int
