"""Workers behind a PgBouncer in transaction mode, where each statement may meet another server process."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest

from sagas import start_sagas
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows.sagas import Quick
from tests.servers.pgbouncer import POOL
from tests.servers.process import ServerProcess
from tests.worker_process import WorkerProcess


pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.redis,
    pytest.mark.postgres,
    pytest.mark.timeout(240),
]

SAGAS = 200
PATIENCE = 150
TOLD = re.compile(r" (?:WARNING|ERROR|CRITICAL) +(?!py\.warnings)(.*)")
AS_DJANGO_ASKS = {"DISABLE_SERVER_SIDE_CURSORS": True}
"""What Django's documentation wants behind a pooler in transaction mode."""

LIMITS = ("idle_in_transaction_session_timeout", "lock_timeout", "TimeZone")


def start_all() -> None:
    start_sagas(Quick, [None] * SAGAS, keys=[str(number) for number in range(SAGAS)])


def wait_until_all_are_completed() -> None:
    until = time.monotonic() + PATIENCE
    while left := SagaRun.objects.active().count():
        assert time.monotonic() < until, f"{left} of {SAGAS} are still active"
        time.sleep(0.1)
    assert SagaRun.objects.filter(state=SagaState.COMPLETED).count() == SAGAS


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


@pytest.mark.parametrize("connection", [{}, AS_DJANGO_ASKS], ids=["by default", "as Django asks"])
def test_all_sagas_complete_and_other_clients_notice_nothing(
    worker_factory: WorkerFactory,
    redis_broker: str,
    pgbouncer_server: ServerProcess,
    session_settings: Callable[[], set[tuple[str, ...]]],
    connection: Mapping[str, Any],
) -> None:
    before = session_settings()
    start_all()
    worker = worker_factory(
        redis_broker, database_url=pgbouncer_server.url, concurrency=4, connection=connection
    )
    wait_until_all_are_completed()
    assert complaints(worker) == []
    # Once per process, of which there are four children and the sweep's; with the flag nobody asks.
    hints = worker.log.read_text().count("a pooler stands before 'default'")
    assert 1 <= hints <= 5 if not connection else hints == 0
    assert session_settings() == before


def test_a_pooler_that_is_restarted_under_way_costs_nobody_a_saga(
    worker_factory: WorkerFactory, redis_broker: str, pgbouncer_server: ServerProcess
) -> None:
    start_all()
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
