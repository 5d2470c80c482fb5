"""Workers behind a PgBouncer in transaction mode, where each statement may meet another server process."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest

from benchmarks.plant.servers.pgbouncer import POOL
from benchmarks.plant.servers.process import ServerProcess
from benchmarks.plant.worker_process import WorkerProcess
from sagas import start_sagas
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows.sagas import Quick


pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.redis,
    pytest.mark.postgres,
    pytest.mark.timeout(240),
]

FEW = 60
SAGAS = 200
PATIENCE = 150
TOLD = re.compile(r" (?:WARNING|ERROR|CRITICAL) +(?!py\.warnings)(.*)")
AS_DJANGO_ASKS = {"DISABLE_SERVER_SIDE_CURSORS": True}
"""What Django's documentation wants behind a pooler in transaction mode."""

LIMITS = ("idle_in_transaction_session_timeout", "lock_timeout", "TimeZone")


def start_many(number: int) -> None:
    start_sagas(Quick, [None] * number, keys=[str(key) for key in range(number)])


def wait_until_all_are_completed() -> None:
    number = SagaRun.objects.count()
    until = time.monotonic() + PATIENCE
    while left := SagaRun.objects.active().count():
        assert time.monotonic() < until, f"{left} of {number} are still active"
        time.sleep(0.1)
    assert SagaRun.objects.filter(state=SagaState.COMPLETED).count() == number


def complaints(worker: WorkerProcess) -> list[str]:
    return TOLD.findall(worker.log.read_text())


@pytest.fixture
def session_settings(pgbouncer_server: ServerProcess) -> Callable[[], set[tuple[str, ...]]]:
    """Ask every server process of the pool for its settings, as another client meets them."""

    def asked() -> set[tuple[str, ...]]:
        clients = [
            psycopg.connect(pgbouncer_server.url, prepare_threshold=None) for _ in range(POOL)
        ]
        found = set()
        try:
            for client in clients:  # each transaction stays open, and so keeps its server process
                row = client.execute(
                    f"SELECT {', '.join(f'current_setting({name!r})' for name in LIMITS)}"
                ).fetchone()
                assert row is not None
                found.add(tuple(row))
        finally:
            for client in clients:
                client.close()
        return found

    return asked


@pytest.mark.parametrize(
    ("how", "number"),
    [
        pytest.param({"concurrency": 4}, FEW, id="by default"),
        pytest.param({"concurrency": 4}, SAGAS, id="many", marks=pytest.mark.slow),
        pytest.param(
            {"concurrency": 4, "connection": AS_DJANGO_ASKS},
            SAGAS,
            id="as Django asks",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"pool": "gevent", "concurrency": 40, "environment": {"SAGAS_DB_POOL": "8"}},
            FEW,
            id="greenlets with Django's pool",
        ),
    ],
)
def test_all_sagas_complete_and_other_clients_notice_nothing(
    worker_factory: WorkerFactory,
    redis_broker: str,
    pgbouncer_server: ServerProcess,
    session_settings: Callable[[], set[tuple[str, ...]]],
    how: Mapping[str, Any],
    number: int,
) -> None:
    before = session_settings()
    start_many(number)
    worker = worker_factory(redis_broker, database_url=pgbouncer_server.url, **how)
    wait_until_all_are_completed()
    assert complaints(worker) == []
    # At most once per process: four children, or one of greenlets. With the flag nobody asks.
    hints = worker.log.read_text().count("a pooler stands before 'default'")
    assert 1 <= hints <= 4 if "connection" not in how else hints == 0
    assert session_settings() == before


@pytest.mark.slow
def test_a_pooler_that_is_restarted_under_way_costs_nobody_a_saga(
    worker_factory: WorkerFactory, redis_broker: str, pgbouncer_server: ServerProcess
) -> None:
    start_many(SAGAS)
    worker_factory(redis_broker, database_url=pgbouncer_server.url, concurrency=4)
    until = time.monotonic() + PATIENCE
    while SagaRun.objects.active().count() > SAGAS - 20:
        assert time.monotonic() < until
        time.sleep(0.02)
    pgbouncer_server.kill()
    left = SagaRun.objects.active().count()
    assert 0 < left < SAGAS
    time.sleep(1)
    pgbouncer_server.start()
    wait_until_all_are_completed()
