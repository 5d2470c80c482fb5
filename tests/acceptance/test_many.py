"""Many sagas at once on many processes (R124)."""

import time

import pytest
from django.db import connection

from sagas import start_sagas
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.flows.sagas import Quick


pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.postgres,
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

SAGAS = 2_000


def test_two_thousand_sagas_on_eight_processes_all_end_and_none_meets_another(
    worker_factory: WorkerFactory, redis_broker: str
) -> None:
    start_sagas(Quick, [None] * SAGAS, keys=[str(number) for number in range(SAGAS)])
    worker_factory(redis_broker, concurrency=8, environment={"SAGAS_LOG_LEVEL": "WARNING"})
    until = time.monotonic() + 300
    while SagaRun.objects.active().exists():
        assert time.monotonic() < until
        time.sleep(0.2)
    assert SagaRun.objects.filter(state=SagaState.COMPLETED).count() == SAGAS
    assert StepRun.objects.filter(state=StepState.SUCCEEDED, fence=1).count() == 4 * SAGAS
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert cursor.fetchone() == (0,)
