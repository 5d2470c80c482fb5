"""Workers are stopped, the database and the broker go away: nothing is lost, doubled or stuck (R53, R89)."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import OperationalError, connection, connections

from benchmarks.plant.servers.process import ServerProcess
from benchmarks.plant.worker_process import WorkerProcess
from sagas import start_saga
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.driving import fresh
from tests.flows import ledger
from tests.flows.sagas import Orders, Parallel
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.postgres]

LEASES = {**QUICK, "LEASE_SECONDS": 8.0}

AWAY = 14.0
"""Seconds for which a server is gone: more than a lease, and than what a log keeps silent for."""

SHORTLY = 5.0
"""Less than a lease."""

SCRIPTS: list[dict[str, str]] = [{}, {"join": "permanent"}, {"left": "sleep=0.3"}]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def start_many(book: Path, count: int) -> list[SagaRun]:
    return [
        start_saga(Parallel, Orders(str(book), SCRIPTS[n % len(SCRIPTS)]), key=str(n))
        for n in range(count)
    ]


def start_held(book: Path, word: str) -> SagaRun:
    """Start a saga and return when its handler runs, until the test says the word."""
    run = start_saga(Parallel, Orders(str(book), {"left": f"after={word}"}), key=word)
    ledger.wait_for(book, "left", of=run.pk)
    return run


def wait_until_all_have_ended(timeout: float) -> None:
    until = time.monotonic() + timeout
    while SagaRun.objects.active().exists():
        if time.monotonic() > until:
            left = [run.explain() for run in SagaRun.objects.active()[:5]]
            pytest.fail(f"{SagaRun.objects.active().count()} are still active, such as {left}")
        time.sleep(0.2)


def wait_for_progress(book: Path, entries: int) -> None:
    until = time.monotonic() + 60
    while len(ledger.read(book)) < entries:
        assert time.monotonic() < until, f"{len(ledger.read(book))} of {entries} entries"
        time.sleep(0.02)


def assert_ended_as_scripted() -> None:
    ended = {run.key: run.state for run in SagaRun.objects.all()}
    failing = {n for n in ended if n.isdecimal() and SCRIPTS[int(n) % 3].get("join")}
    assert {key for key, state in ended.items() if state == SagaState.COMPENSATED} == failing
    assert set(ended.values()) == {SagaState.COMPLETED, SagaState.COMPENSATED}
    unfinished = (StepState.READY, StepState.RUNNING, StepState.PENDING)
    assert not StepRun.objects.filter(state__in=unfinished).exists()


def assert_no_handler_ran_twice(book: Path) -> None:
    began = [entry.key for entry in ledger.read(book) if entry.phase == "began"]
    assert len(set(began)) == len(began)


def assert_nothing_was_doubled(book: Path) -> None:
    """No attempt was lost, either."""
    assert_no_handler_ran_twice(book)
    assert not StepRun.objects.filter(attempt__gt=1).exists()


class TestSigterm:
    @pytest.mark.timeout(300)
    def test_a_worker_stopped_under_load_loses_nothing_and_doubles_nothing(
        self, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        start_many(book, 120)
        workers = [worker_factory(redis_broker) for _ in range(2)]
        for progress in (40, 250, 600):
            wait_for_progress(book, progress)
            leaving = workers.pop(0)
            workers.append(worker_factory(redis_broker, wait=False))
            assert stopped_within(leaving, 60)
        wait_until_all_have_ended(120)
        assert_ended_as_scripted()
        assert_nothing_was_doubled(book)

    @pytest.mark.timeout(180)
    def test_a_step_that_takes_longer_than_the_stop_may_is_run_again_elsewhere(
        self, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        leaving = worker_factory(redis_broker, settings=QUICK)
        run = start_saga(Parallel, Orders(str(book), {"left": "sleep=600-once"}), key="long")
        ledger.wait_for(book, "left")
        # What a deploy does: ask, wait as long as it wants to, insist.
        leaving.terminate(seconds=2)
        worker_factory(redis_broker, settings=QUICK)
        assert run.wait(80).state == SagaState.COMPLETED
        left = [e for e in ledger.read(book) if e.what == "left" and e.phase == "began"]
        assert [e.attempt for e in left] == [1, 2]
        assert len({e.key for e in left}) == 1


def stopped_within(worker: WorkerProcess, seconds: float) -> bool:
    """Ask a worker to stop; whether it did by itself."""
    worker.ask_to_stop()
    until = time.monotonic() + seconds
    while worker.alive and time.monotonic() < until:
        time.sleep(0.05)
    return not worker.alive


@contextmanager
def away(server: ServerProcess, seconds: float = AWAY) -> Iterator[None]:
    """Kill a server as a machine dies, and start it again later."""
    server.kill()
    try:
        yield
        time.sleep(seconds)
    finally:
        server.start()


def assert_told_in_few_lines(worker: WorkerProcess) -> None:
    """Whether an outage of many rounds is a few lines, and its end is told."""
    until = time.monotonic() + 60
    while "sweep works again after" not in worker.log.read_text():
        assert time.monotonic() < until, worker.tail()
        time.sleep(0.1)
    told = re.compile(" sweep (failed|has been failing)")
    lines = [line for line in worker.log.read_text().splitlines() if told.search(line)]
    assert "sweep failed: " in lines[0]
    assert " ".join(lines).count("sweep has been failing for") >= 1
    # One a second would be fourteen.
    assert len(lines) < 7


def assert_bounded(worker: WorkerProcess, seconds: float) -> None:
    """Whether a worker still answers a request to stop: nothing in it waits for ever."""
    assert stopped_within(worker, seconds), worker.tail()


@pytest.mark.faults
class TestServersAway:
    @pytest.fixture(autouse=True)
    def _durable_commits(self, transactional_db: None) -> Iterator[None]:
        """The tests' server forgets its last commits when it is killed; here it must not."""
        database = connection.ops.quote_name(connection.settings_dict["NAME"])
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {database} SET synchronous_commit = on")
        yield
        connections.close_all()
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {database} RESET synchronous_commit")

    @pytest.mark.timeout(300)
    def test_the_database_is_killed_and_everything_goes_on_by_itself(
        self,
        worker_factory: WorkerFactory,
        redis_broker: str,
        postgres_server: ServerProcess,
        book: Path,
    ) -> None:
        workers = [worker_factory(redis_broker, settings=LEASES) for _ in range(2)]
        # One handler ends while the database is away, another when it is back.
        ending, lasting = (start_held(book, word) for word in ("gone", "back"))
        start_many(book, 60)
        wait_for_progress(book, 80)
        with away(postgres_server):
            began = time.monotonic()
            with pytest.raises(OperationalError):
                SagaRun.objects.count()
            assert time.monotonic() - began < 30
            ledger.say(book, "gone", of=ending.pk)
        connections.close_all()
        ledger.say(book, "back", of=lasting.pk)
        wait_until_all_have_ended(120)
        assert {fresh(run).state for run in (ending, lasting)} == {SagaState.COMPLETED}
        assert_ended_as_scripted()
        assert_no_handler_ran_twice(book)
        for worker in workers:
            assert_told_in_few_lines(worker)
        assert_bounded(workers[0], 60)

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_the_database_hangs_and_everything_goes_on_by_itself(
        self,
        worker_factory: WorkerFactory,
        redis_broker: str,
        postgres_server: ServerProcess,
        book: Path,
    ) -> None:
        start_many(book, 60)
        for _ in range(2):
            worker_factory(redis_broker, settings=LEASES)
        wait_for_progress(book, 80)
        postgres_server.pause()
        time.sleep(AWAY)
        postgres_server.resume()
        wait_until_all_have_ended(120)
        assert_ended_as_scripted()
        assert_nothing_was_doubled(book)

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_the_broker_is_killed_and_everything_goes_on_by_itself(
        self,
        worker_factory: WorkerFactory,
        redis_broker: str,
        redis_server: ServerProcess,
        book: Path,
    ) -> None:
        start_many(book, 40)
        for _ in range(2):
            worker_factory(redis_broker, settings=LEASES)
        wait_for_progress(book, 80)
        with away(redis_server, SHORTLY):
            began = time.monotonic()
            more = start_saga(Parallel, Orders(str(book), SCRIPTS[40 % 3]), key="40")
            assert more.created
            assert time.monotonic() - began < 30
        wait_until_all_have_ended(150)
        assert_ended_as_scripted()
        assert_nothing_was_doubled(book)

    @pytest.mark.timeout(300)
    def test_database_and_broker_are_killed_and_everything_goes_on_by_itself(
        self,
        worker_factory: WorkerFactory,
        redis_broker: str,
        redis_server: ServerProcess,
        postgres_server: ServerProcess,
        book: Path,
    ) -> None:
        start_many(book, 40)
        workers = [worker_factory(redis_broker, settings=LEASES) for _ in range(2)]
        wait_for_progress(book, 80)
        with away(postgres_server, SHORTLY), away(redis_server, 0):
            pass
        connections.close_all()
        wait_until_all_have_ended(150)
        assert_ended_as_scripted()
        assert_nothing_was_doubled(book)
        assert_bounded(workers[0], 60)
