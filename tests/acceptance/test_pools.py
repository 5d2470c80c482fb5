"""Every pool of workers that is supported, with every way to connect that its row in docs/workers.md names."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.db import connection

from benchmarks.plant.servers.process import ServerProcess
from benchmarks.plant.worker_process import WorkerProcess
from sagas import start_saga
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.driving import fresh, step_of
from tests.flows import ledger
from tests.flows.sagas import Attentive, Limited, Orders, Parallel


pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.redis,
    pytest.mark.postgres,
    pytest.mark.timeout(240),
]

PATIENCE = 100
SHARED = 4
"""Connections in Django's pool."""

SHORT = {"LEASE_SECONDS": 4.0}

KEPT: dict[str, Any] = {}
"""As the example project has it: ``CONN_MAX_AGE`` and ``CELERY_DB_REUSE_MAX``."""
PER_TASK: dict[str, Any] = {
    "connection": {"CONN_MAX_AGE": 0},
    "django": {"CELERY_DB_REUSE_MAX": None},
}
POOLED: dict[str, Any] = {"environment": {"SAGAS_DB_POOL": str(SHARED)}}

COMPLAINT = re.compile(r" (?:ERROR|CRITICAL) +.*")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A pool of workers, and how it is connected to the database."""

    pool: str
    concurrency: int
    connected: dict[str, Any] = field(default_factory=dict)

    def start(self, factory: WorkerFactory, broker: str, **further: Any) -> WorkerProcess:
        given = {**self.connected, "settings": SHORT, **further}
        return factory(broker, pool=self.pool, concurrency=self.concurrency, **given)


SETUPS = {
    "prefork, kept": Setup(pool="prefork", concurrency=2, connected=KEPT),
    "threads, pooled": Setup(pool="threads", concurrency=16, connected=POOLED),
    "solo, kept": Setup(pool="solo", concurrency=1, connected=KEPT),
    "gevent, pooled": Setup(pool="gevent", concurrency=40, connected=POOLED),
}
"""Each pool, connected as docs/workers.md says."""

OTHERS = {
    "prefork, per task": Setup(pool="prefork", concurrency=2, connected=PER_TASK),
    "prefork, pooled": Setup(pool="prefork", concurrency=2, connected=POOLED),
    "threads, kept": Setup(pool="threads", concurrency=8, connected=KEPT),
    "threads, per task": Setup(pool="threads", concurrency=8, connected=PER_TASK),
    "solo, per task": Setup(pool="solo", concurrency=1, connected=PER_TASK),
    "gevent, per task": Setup(pool="gevent", concurrency=20, connected=PER_TASK),
}
"""What also works."""

EVERY = [
    *(pytest.param(setup, id=name) for name, setup in SETUPS.items()),
    *(pytest.param(setup, id=name, marks=pytest.mark.slow) for name, setup in OTHERS.items()),
]
SHARING = [pytest.param(SETUPS[name], id=name) for name in ("threads, pooled", "gevent, pooled")]

SCRIPTS: list[dict[str, str]] = [{}, {"join": "permanent"}, {"left": "sleep=0.2"}]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def start_many(book: Path, count: int) -> list[SagaRun]:
    return [
        start_saga(Parallel, Orders(str(book), SCRIPTS[n % len(SCRIPTS)]), key=str(n))
        for n in range(count)
    ]


def wait_until(true: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def wait_until_all_have_ended() -> None:
    wait_until(
        lambda: not SagaRun.objects.active().exists(),
        f"still active: {[run.explain() for run in SagaRun.objects.active()[:3]]}",
    )


def assert_ended_as_scripted() -> None:
    ended = {run.key: run.state for run in SagaRun.objects.all()}
    failing = {key for key in ended if SCRIPTS[int(key) % len(SCRIPTS)].get("join")}
    assert {key for key, state in ended.items() if state == SagaState.COMPENSATED} == failing
    assert set(ended.values()) == {SagaState.COMPLETED, SagaState.COMPENSATED}


def connections_of(worker: WorkerProcess) -> int:
    """How many connections to PostgreSQL the worker and its children have open."""
    port = int(connection.settings_dict["PORT"])
    root = psutil.Process(worker.pid)
    return sum(
        one.status == psutil.CONN_ESTABLISHED and bool(one.raddr) and one.raddr.port == port
        for process in (root, *root.children(recursive=True))
        for one in process.net_connections("tcp")
    )


class TestFlows:
    @pytest.mark.parametrize("setup", EVERY)
    def test_sagas_end_as_they_should_and_nobody_complains(
        self, setup: Setup, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        start_many(book, 12)
        worker = setup.start(worker_factory, redis_broker)
        wait_until_all_have_ended()
        assert_ended_as_scripted()
        assert not StepRun.objects.filter(attempt__gt=1).exists()
        assert COMPLAINT.findall(worker.log.read_text()) == []


class TestCrashes:
    @pytest.mark.parametrize("setup", EVERY)
    def test_a_worker_that_is_killed_in_a_step_is_noticed_and_the_step_runs_again(
        self, setup: Setup, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        run = start_saga(Parallel, Orders(str(book), {"start": "sleep=600-once"}), key="0")
        worker = setup.start(worker_factory, redis_broker)
        ledger.wait_for(book, "start")
        worker.kill()
        setup.start(worker_factory, redis_broker)
        assert run.wait(PATIENCE).state == SagaState.COMPLETED
        assert step_of(run, "start").attempt == 2

    @pytest.mark.parametrize(
        "setup",
        [
            SETUPS["prefork, kept"],
            pytest.param(OTHERS["prefork, pooled"], marks=pytest.mark.slow),
        ],
        ids=["kept", "pooled"],
    )
    def test_children_that_take_the_place_of_killed_ones_inherit_no_connection(
        self, setup: Setup, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        worker = setup.start(worker_factory, redis_broker)
        run = start_saga(Parallel, Orders(str(book), {"start": "kill-once"}), key="killed")
        assert run.wait(PATIENCE).state == SagaState.COMPLETED
        for number in range(6):
            start_saga(Parallel, Orders(str(book)), key=f"after-{number}")
        wait_until_all_have_ended()
        said = worker.log.read_text()
        assert "sweep failed" not in said
        assert "database lost" not in said

    @pytest.mark.slow
    @pytest.mark.parametrize("setup", EVERY)
    def test_connections_that_are_cut_cost_nobody_a_saga(
        self, setup: Setup, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        worker = setup.start(worker_factory, redis_broker)
        start_many(book, 24)
        for entries in (10, 60):
            wait_until(lambda n=entries: len(ledger.read(book)) >= n, "no progress")  # type: ignore[misc]
            cut_all_connections()
        wait_until_all_have_ended()
        assert_ended_as_scripted()
        assert worker.alive

    @pytest.mark.slow
    @pytest.mark.parametrize("setup", EVERY)
    def test_a_database_that_is_killed_under_way_costs_nobody_a_saga(
        self,
        setup: Setup,
        worker_factory: WorkerFactory,
        redis_broker: str,
        book: Path,
        postgres_server: ServerProcess,
    ) -> None:
        setup.start(worker_factory, redis_broker)
        start_many(book, 24)
        wait_until(lambda: len(ledger.read(book)) >= 20, "no progress")
        postgres_server.kill()
        connection.close()
        time.sleep(3)
        postgres_server.start()
        wait_until_all_have_ended()
        assert_ended_as_scripted()

    @pytest.mark.slow
    @pytest.mark.parametrize("setup", SHARING)
    def test_a_handler_that_nobody_can_kill_is_given_up_at_its_time_limit(
        self, setup: Setup, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        setup.start(worker_factory, redis_broker)
        run = start_saga(Limited, Orders(str(book), {"second": "after=never-once"}), key="0")
        assert run.wait(PATIENCE).state == SagaState.COMPLETED
        assert step_of(run, "second").attempt == 2


def cut_all_connections() -> None:
    with psycopg.connect(admin_url(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND pid NOT IN (pg_backend_pid(), %s)",
            [connection.settings_dict["NAME"], connection.connection.info.backend_pid],
        )


def admin_url() -> str:
    values = connection.settings_dict
    return f"postgresql://{values['USER']}@{values['HOST']}:{values['PORT']}/postgres"


class TestConnections:
    @pytest.mark.parametrize("setup", SHARING)
    def test_handlers_that_wait_share_a_few_connections(
        self, setup: Setup, worker_factory: WorkerFactory, redis_broker: str, book: Path
    ) -> None:
        number = setup.concurrency
        worker = setup.start(worker_factory, redis_broker)
        runs = [
            start_saga(Attentive, Orders(str(book), {"second": "hold"}), key=str(n))
            for n in range(number)
        ]
        wait_until(lambda: ledger.began(book).count("second") == number, "not all wait")
        found = set()
        waited = time.monotonic() + 1.5 * SHORT["LEASE_SECONDS"]
        while time.monotonic() < waited:  # beyond a lease, which is kept alive meanwhile
            found.add(connections_of(worker))
            time.sleep(0.1)
        assert max(found) <= SHARED
        Path(f"{book}.go").touch()
        wait_until_all_have_ended()
        assert {fresh(run).state for run in runs} == {SagaState.COMPLETED}
        assert not StepRun.objects.exclude(state=StepState.SUCCEEDED, attempt=1).exists()
        assert connections_of(worker) <= SHARED
        assert COMPLAINT.findall(worker.log.read_text()) == []
