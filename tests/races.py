"""Threads that start at the same instant, each with a database connection of its own."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event
from typing import Any

from django.db import connections, transaction


Job = Callable[[], Any]

TIMES = int(os.environ.get("SAGAS_RACES", "24"))
"""How often a race is run; ``make faults`` runs each 200 times."""


class Racers:
    """Some threads that wait for each other before every job."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def race(self, *jobs: Job) -> list[Any]:
        """Run the jobs at once; return what each returned, or the exception that it raised."""
        barrier = Barrier(len(jobs))
        running = [self._pool.submit(_at_once, barrier, job) for job in jobs]
        return [_outcome(job) for job in running]


@contextmanager
def racers(number: int) -> Iterator[Racers]:
    """Give ``number`` threads; their connections are closed at the end."""
    with ThreadPoolExecutor(number) as pool:
        found = Racers(pool)
        try:
            yield found
        finally:
            found.race(*[connections.close_all] * number)


def together(*jobs: Job) -> list[Any]:
    """Run the jobs at once, each in a thread; return results and exceptions in their order."""
    with racers(len(jobs)) as runners:
        return runners.race(*jobs)


def _at_once(barrier: Barrier, job: Job) -> Any:
    barrier.wait(timeout=60)
    return job()


def _outcome(job: "Future[Any]") -> Any:
    return job.exception(timeout=60) or job.result()


@contextmanager
def elsewhere(act: Callable[[], object]) -> Iterator[None]:
    """Let another process do this in a transaction that it then leaves open."""
    begun, enough = Event(), Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                act()
                begun.set()
                enough.wait(60)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        try:
            assert begun.wait(60)
            yield
        finally:
            enough.set()
            holding.result(60)
