"""Celery's callbacks and messages are hints: dropped, doubled or flushed, every saga still ends (R31)."""

import time
from collections import Counter
from pathlib import Path

import pytest
import redis
from pytest_django import Settings

from benchmarks.plant.worker_process import WorkerProcess
from sagas import start_saga
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.sagas import Orders, Parallel
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

SCRIPTS: list[dict[str, str]] = [
    {},
    {"join": "permanent"},
    {"left": "permanent", "right": "sleep=0.2"},
    {"right": "network-once"},
]


def start_some(book: Path, count: int, *scripts: dict[str, str], first: int = 0) -> list[SagaRun]:
    return [
        start_saga(Parallel, Orders(str(book), scripts[n % len(scripts)]), key=str(first + n))
        for n in range(count)
    ]


def wait_for_all(runs: list[SagaRun], timeout: float) -> list[SagaRun]:
    until = time.monotonic() + timeout
    return [run.wait(max(until - time.monotonic(), 0.1)) for run in runs]


def assert_truthful(book: Path, runs: list[SagaRun]) -> None:
    """Compare each run's outcome with what its handlers did, by idempotency key."""
    entries = ledger.read(book)
    for run in runs:
        mine = [e for e in entries if e.key.startswith(str(run.pk))]
        done = {e.what for e in mine if e.phase == "ended" and "undo" not in e.what}
        undone = {e.what.partition("(")[2].rstrip(")") for e in mine if "undo" in e.what}
        if run.state == SagaState.COMPLETED:
            assert done == {"start", "left", "right", "join"}
            assert not undone
        else:
            assert run.state == SagaState.COMPENSATED
            assert done - {"join"} <= undone


def attempts_per_key(book: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in ledger.read(book):
        if entry.phase == "began":
            counts[entry.key] = counts.get(entry.key, 0) + 1
    return counts


def wait_for_refusals(worker: WorkerProcess, count: int) -> None:
    """Return when so many messages found their attempt claimed already."""
    until = time.monotonic() + 60
    while worker.log.read_text().count("'not claimed'") < count:
        assert time.monotonic() < until, worker.tail()
        time.sleep(0.1)


class TestCallbacks:
    def test_when_they_are_dropped_every_saga_ends_by_its_lease(
        self, tmp_path: Path, worker_factory: WorkerFactory, any_broker: str
    ) -> None:
        book = tmp_path / "ledger"
        # Nobody consumes the queue of the doors.
        worker_factory(any_broker, queues=["saga.steps", "saga.compensate"], settings=QUICK)
        runs = start_some(book, 7, *SCRIPTS, {"left": "kill-once"})
        ended = wait_for_all(runs, 100)
        assert_truthful(book, ended)
        assert not [e for e in ended if e.state not in {"completed", "compensated"}]

    def test_when_they_are_doubled_no_step_runs_twice(
        self, tmp_path: Path, worker_factory: WorkerFactory, any_broker: str
    ) -> None:
        book = tmp_path / "ledger"
        environment = {"SAGAS_TEST_DOUBLE_MESSAGES": "1", "SAGAS_TEST_TELL_ENDS": "1"}
        worker = worker_factory(any_broker, environment=environment)
        runs = start_some(book, 8, {}, {"join": "permanent"}, {"left": "permanent"})
        ended = wait_for_all(runs, 100)
        assert_truthful(book, ended)
        assert set(attempts_per_key(book).values()) == {1}
        wait_for_refusals(worker, len(runs))
        # Nor is a receiver of the signal told twice.
        for run in ended:
            ledger.wait_for(book, f"finished {run.state}", phase="told", of=run.pk)
        told = Counter((e.key, e.what) for e in ledger.read(book) if e.phase == "told")
        assert told == {(f"{run.pk}:finished", f"finished {run.state}"): 1 for run in ended}


@pytest.mark.redis
class TestFlushedBroker:
    def test_every_message_is_lost_and_every_saga_ends(
        self,
        tmp_path: Path,
        worker_factory: WorkerFactory,
        redis_broker: str,
        settings: Settings,
    ) -> None:
        settings.SAGAS = {**settings.SAGAS, "RESEND_SECONDS": 3.0}
        book = tmp_path / "ledger"
        # Two steps hold both children of the worker, so the others' messages are in the queue.
        held = start_some(book, 2, {"left": "after=flushed"})
        runs = [*held, *start_some(book, 38, *SCRIPTS, first=2)]
        worker_factory(redis_broker, settings={"RESEND_SECONDS": 3.0})
        for run in held:
            ledger.wait_for(book, "left", of=run.pk)
        broker = redis.Redis.from_url(redis_broker)
        assert broker.llen("saga.steps")
        broker.flushall()
        for run in held:
            ledger.say(book, "flushed", of=run.pk)
        assert_truthful(book, wait_for_all(runs, 100))
