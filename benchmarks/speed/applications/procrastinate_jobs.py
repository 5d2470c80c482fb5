"""procrastinate: five jobs, each of which defers the next one at its end."""

import os

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from benchmarks.speed.applications import ledger
from benchmarks.speed.applications.client import obey


app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))


@app.task(name="notify")
async def notify(batch: str) -> None:
    ledger.ended(batch)


@app.task(name="ship")
async def ship(batch: str) -> None:
    await notify.defer_async(batch=batch)


@app.task(name="pack")
async def pack(batch: str) -> None:
    await ship.defer_async(batch=batch)


@app.task(name="charge")
async def charge(batch: str) -> None:
    await pack.defer_async(batch=batch)


@app.task(name="reserve")
async def reserve(batch: str) -> None:
    ledger.began(batch)
    await charge.defer_async(batch=batch)


def main() -> None:
    connector = SyncPsycopgConnector(conninfo=os.environ["DATABASE_URL"])
    with app.replace_connector(connector) as client, client.open():
        first = client.tasks["reserve"]
        obey(lambda batch: first.defer(batch=batch))


if __name__ == "__main__":
    main()
