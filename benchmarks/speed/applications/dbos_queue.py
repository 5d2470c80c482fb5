"""DBOS: a workflow of five steps, enqueued on its queue, run by processes of their own.

Run as ``python -m benchmarks.speed.applications.dbos_queue client|worker [NUMBER]``.
"""

import os
import sys
import threading

from dbos import DBOS, DBOSClient, EnqueueOptions

from benchmarks.speed.applications import ledger
from benchmarks.speed.applications.client import obey


QUEUE = "speed"


@DBOS.step()
def reserve(batch: str) -> None:
    ledger.began(batch)


@DBOS.step()
def charge() -> None: ...


@DBOS.step()
def pack() -> None: ...


@DBOS.step()
def ship() -> None: ...


@DBOS.step()
def notify(batch: str) -> None:
    ledger.ended(batch)


@DBOS.workflow(name="order")
def order(batch: str) -> None:
    reserve(batch)
    charge()
    pack()
    ship()
    notify(batch)


def work(number: str) -> None:
    """Run what is in the queue, for ever. The queue is registered after the launch, once is enough."""
    DBOS(
        config={
            "name": "speed",
            "system_database_url": os.environ["DATABASE_URL"],
            "application_version": "1",
            "executor_id": number,
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE)
    threading.Event().wait()


def main() -> None:
    if sys.argv[1] == "worker":
        work(sys.argv[2])
        return
    client = DBOSClient(system_database_url=os.environ["DATABASE_URL"])
    options: EnqueueOptions = {"workflow_name": "order", "queue_name": QUEUE}
    obey(lambda batch: client.enqueue(options, batch))


if __name__ == "__main__":
    main()
