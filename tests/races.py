"""Threads that start at the same instant, each with a database connection of its own."""

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event
from typing import Any

from django.db import connections, transaction

from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import SagaState
from tests.driving import fresh
from tests.traced import CALLS


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


class Moment:
    """How a run stands, to be brought back before every repetition."""

    def __init__(self, run: SagaRun) -> None:
        of_run = {"run_id": run.pk}
        self.run = fresh(run)
        self._columns = SagaRun.objects.filter(pk=run.pk).values().get()
        self._steps = list(StepRun.objects.filter(**of_run))
        self._events = SagaEvent.objects.filter(**of_run).values_list("pk", flat=True).last()

    def again(self) -> SagaRun:
        CALLS.clear()
        of_run = {"run_id": self.run.pk}
        SagaEvent.objects.filter(**of_run, pk__gt=self._events).delete()
        StepRun.objects.filter(**of_run).delete()
        StepRun.objects.bulk_create(self._steps)
        SagaRun.objects.filter(pk=self.run.pk).update(**self._columns)
        return self.run

    def times(self, seen: Collection[object] = (), outcomes: int = 0) -> Iterator[int]:
        """Yield the number of each race; more of them until so many ``outcomes`` were ``seen``."""
        number = 0
        while number < TIMES or (len(seen) < outcomes and number < 20 * TIMES):
            self.again()
            yield number
            number += 1


def settled(answer: Any) -> bool:
    """Whether a verb won; a loser was refused and told of the state, and nothing else happened."""
    if isinstance(answer, SagaRun):
        return True
    assert isinstance(answer, ActionNotAllowed), repr(answer)
    assert answer.state in SagaState.values
    assert isinstance(answer.allowed, list)
    return False


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
