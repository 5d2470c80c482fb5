"""The faults that each system goes through, one kind at a time."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import redis

from benchmarks.faults.rivals.contender import Contender


Inflict = Callable[[Contender, random.Random], None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A kind of fault, and the work that goes on meanwhile."""

    title: str
    inflict: Inflict
    hold_ms: int = 150
    children: int = 2
    time_limit: float | None = None
    redelivery: int = 20
    """The rivals' visibility time-out in seconds, of which Celery's default is an hour."""


def kill_children(system: Contender, dice: random.Random) -> None:
    """Eight times a child, of either worker."""
    for _ in range(8):
        time.sleep(1)
        children = [pid for slot in system.slots for pid in slot.worker.child_pids()]
        with suppress(ProcessLookupError):
            os.kill(dice.choice(children), signal.SIGKILL)


def kill_workers(system: Contender, dice: random.Random) -> None:
    """Four times a worker with its children; another one takes its place."""
    for _ in range(4):
        time.sleep(2)
        slot = dice.choice(system.slots)
        slot.worker.kill()
        time.sleep(1)
        slot.replace()


def flush_broker(system: Contender, _: random.Random) -> None:
    """Twice."""
    for _again in range(2):
        time.sleep(3)
        with redis.Redis.from_url(system.redis.url) as broker:
            broker.flushall()


def nothing(_: Contender, __: random.Random) -> None:
    """The handlers that hang are fault enough."""


def take_broker_away(system: Contender, _: random.Random) -> None:
    """In the middle of the work, for longer than Celery tries to publish."""
    time.sleep(3)
    system.redis.stop()
    time.sleep(35)
    system.redis.start()


SCENARIOS = {
    "kill_child": Scenario(title="SIGKILL of a child, 8 times", inflict=kill_children),
    "kill_worker": Scenario(title="SIGKILL of a worker, 4 times", inflict=kill_workers),
    "kill_worker_default": Scenario(
        title="the same, with Celery's redelivery after an hour",
        inflict=kill_workers,
        redelivery=3600,
    ),
    "flush": Scenario(title="FLUSHALL, twice", inflict=flush_broker),
    "time_limit": Scenario(
        title="hard time limit, in every fifth saga", inflict=nothing, time_limit=3
    ),
    "broker_away": Scenario(
        title="broker away for 35 s between body and link",
        inflict=take_broker_away,
        hold_ms=600,
        children=4,
    ),
    "broker_away_default": Scenario(
        title="the same, with Celery's redelivery after an hour",
        inflict=take_broker_away,
        hold_ms=600,
        children=4,
        redelivery=3600,
    ),
}
