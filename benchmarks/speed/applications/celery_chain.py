"""Plain Celery: ``chain()`` of five tasks, with Celery's defaults.

With ``DJANGO_SETTINGS_MODULE`` it runs inside a Django project, as ours does; ``SPEED_RESULTS`` names
the result backend, and without one no results are kept.
"""

import os
import sys

from celery import Celery, chain

from benchmarks.speed.applications import ledger
from benchmarks.speed.applications.client import obey


app = Celery("celery_chain")
app.conf.update(
    broker_url=os.environ["SPEED_BROKER"],
    broker_connection_retry_on_startup=True,
    result_backend=os.environ.get("SPEED_RESULTS") or None,
    task_ignore_result=not os.environ.get("SPEED_RESULTS"),
)


@app.task(name="reserve")
def reserve(batch: str) -> None:
    ledger.began(batch)
    ledger.pause()


@app.task(name="charge")
def charge(batch: str) -> None:  # noqa: ARG001 as every task of the chain
    ledger.pause()


@app.task(name="pack")
def pack(batch: str) -> None:  # noqa: ARG001 as every task of the chain
    ledger.pause()


@app.task(name="ship")
def ship(batch: str) -> None:  # noqa: ARG001 as every task of the chain
    ledger.pause()


@app.task(name="notify")
def notify(batch: str) -> None:
    ledger.pause()
    ledger.ended(batch)


def start(batch: str) -> None:
    chain(reserve.si(batch), charge.si(batch), pack.si(batch), ship.si(batch), notify.si(batch))()


def main() -> None:
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django  # noqa: PLC0415 only inside a Django project

        django.setup()
    if sys.argv[1] == "prepare":
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        return
    obey(start)


if __name__ == "__main__":
    main()
