"""What the order saga is started with."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import TextChoices


SLOW_SECONDS = 3.0


class FailHow(TextChoices):
    """How the chosen step goes wrong: at its first attempt, or until the cause is mended."""

    PERMANENT = "permanent", "It says no until that is mended"
    OUTAGE = "outage", "It does it, but no answer arrives until that is mended"
    NETWORK = "network", "It does it, but the first answer is lost"
    SLOW = "slow", f"It takes {SLOW_SECONDS:.0f} seconds"
    KILL_WORKER = "kill_worker", "The worker process is killed right after it"


LASTING = frozenset({FailHow.PERMANENT, FailHow.OUTAGE})


@dataclass(frozen=True, kw_only=True)
class OrderInput:
    """An order as it was placed. ``fail_at`` and ``fail_how`` stage a failure for the show."""

    order_id: int
    customer_id: str
    sku: str
    quantity: int
    amount: Decimal
    country: str
    ordered_at: datetime
    fail_at: str = ""
    fail_how: str = ""
