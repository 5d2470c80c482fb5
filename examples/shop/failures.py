"""Failures on order, so that everybody can watch the saga deal with them."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from billiard.process import current_process
from django.conf import settings

from examples.shop.models import Order
from examples.shop.order_input import LASTING, SLOW_SECONDS, FailHow, OrderInput
from sagas import PermanentError


COMPENSATIONS = ("reverse_revenue", "refund_payment", "release_inventory")

_REFUSALS = {
    "reserve_inventory": ("OUT_OF_STOCK", "the shelf is empty"),
    "process_payment": ("CARD_DECLINED", "card declined"),
    "check_fraud": ("FRAUD_SUSPECTED", "this looks like fraud"),
    "customs_papers": ("EMBARGO", "these goods may not leave the country"),
    "book_revenue": ("BOOKS_CLOSED", "the books of this month are closed"),
    "create_shipment": ("ADDRESS_UNKNOWN", "no driver finds this address"),
    "send_confirmation": ("MAILBOX_FULL", "the customer's mailbox is full"),
    "reverse_revenue": ("BOOKS_CLOSED", "the books of this month are closed"),
    "refund_payment": ("REFUND_REFUSED", "the card was cancelled meanwhile"),
    "release_inventory": ("WAREHOUSE_LOCKED", "stocktaking: nothing may move"),
}


@contextmanager
def staged_failure(order: OrderInput, step: str, attempt: int) -> Iterator[None]:
    """Wrap the work of ``step``: fail before or after it, if the order asks for that."""
    how = _failure_now(order, step, attempt)
    if how == FailHow.PERMANENT:
        code, message = _REFUSALS[step]
        raise PermanentError(message, code=code)
    if how == FailHow.SLOW:
        time.sleep(SLOW_SECONDS)
    yield
    if how == FailHow.KILL_WORKER:
        _kill_this_worker()
    if how in {FailHow.OUTAGE, FailHow.NETWORK}:
        raise ConnectionError("the connection broke before the answer came")


def _failure_now(order: OrderInput, step: str, attempt: int) -> str:
    how = _failure_of(order, step)
    if how in LASTING:
        is_mended = Order.objects.filter(pk=order.order_id, is_mended=True).exists()
        return "" if is_mended else how
    return how if attempt == 1 else ""


def _failure_of(order: OrderInput, step: str) -> str:
    if order.fail_at == step:
        return order.fail_how
    if step == "create_shipment" and order.fail_at in COMPENSATIONS:
        # Nothing is undone unless the saga turns back, and this is the last step that can make it.
        return FailHow.PERMANENT
    return ""


def _kill_this_worker() -> None:
    """Die as by the kernel's hand; only a worker's child, and only on a development machine."""
    if not settings.DEBUG or not current_process().name.startswith("ForkPoolWorker"):
        raise ConnectionError("only a worker of a development machine may be killed")
    os.kill(os.getpid(), signal.SIGKILL)
