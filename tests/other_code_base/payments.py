"""A Celery application of another code base: it has Celery and Redis, and knows nothing of sagas.

Its ledger is a file: one line when a task begins, one when it has taken effect.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task


app = Celery("payments", broker=os.environ["PAYMENTS_BROKER"])
app.conf.update(
    task_acks_late=os.environ.get("PAYMENTS_ACKS_LATE") == "1",
    task_default_queue="other.payments",
    result_backend=os.environ.get("PAYMENTS_RESULTS") or None,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


class CardDeclined(Exception):
    """The bank says no."""


def tell(ledger: str, what: str, key: str) -> None:
    """Append a line, by one write."""
    line = json.dumps({"what": what, "key": key, "at": time.time()}) + "\n"
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def obey(task: "Task[Any, Any]", ledger: str, words: str) -> None:
    """Do what the test wants of this attempt: by words, separated by commas."""
    for word in filter(None, words.split(",")):
        if word == "decline":
            raise CardDeclined("no funds")
        if word == "retry" and not task.request.retries:
            raise task.retry(countdown=0.2)
        if word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "hang":
            while not Path(f"{ledger}.go").exists():
                time.sleep(0.02)


@app.task(bind=True, name="payments.charge")
def charge(
    task: "Task[Any, Any]", *, ledger: str, order: str, key: str, before: str, after: str
) -> object:
    """Charge once for each key."""
    tell(ledger, "charge begins", key)
    obey(task, ledger, before)
    tell(ledger, "charged", key)
    obey(task, ledger, after)
    assert (task.request.headers or {})["saga_idempotency_key"] == key
    return {"id": f"p-{order}", "cents": 500}


@app.task(name="payments.refund")
def refund(ledger: str, payment: str | None, key: str) -> None:
    """Refund what was charged by a key, and charge nothing by it any more."""
    tell(ledger, f"refunded {payment}", key)
