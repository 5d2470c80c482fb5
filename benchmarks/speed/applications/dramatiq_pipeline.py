"""dramatiq: a pipeline of five actors on Redis. Nothing is kept of it but the messages."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.speed.applications import ledger
from benchmarks.speed.applications.client import obey


dramatiq.set_broker(RedisBroker(url=os.environ["SPEED_BROKER"]))


@dramatiq.actor
def reserve(batch: str) -> None:
    ledger.began(batch)


@dramatiq.actor
def charge(batch: str) -> None: ...


@dramatiq.actor
def pack(batch: str) -> None: ...


@dramatiq.actor
def ship(batch: str) -> None: ...


@dramatiq.actor
def notify(batch: str) -> None:
    ledger.ended(batch)


def start(batch: str) -> None:
    rest = [
        actor.message_with_options(args=(batch,), pipe_ignore=True)
        for actor in (charge, pack, ship, notify)
    ]
    dramatiq.pipeline([reserve.message(batch), *rest]).run()


if __name__ == "__main__":
    obey(start)
