"""A saga of weeks: it waits in its rows, so no process and no broker has to live as long (R53)."""

from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
from django.db.models.functions import Now
from redis import Redis

from benchmarks.plant.servers.process import ServerProcess
from sagas import start_saga
from sagas.conf import MAX_EXECUTION_DURATION
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.driving import fresh, step_of
from tests.flows import ledger
from tests.flows.sagas import Orders, Weeks


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.postgres]

DAY = timedelta(days=1)


def pass_a_day(run: SagaRun) -> None:
    """Nothing but the rows knows when to go on, so this is all that a day changes."""
    StepRun.objects.filter(run=run, state=StepState.READY).update(due_at=Now(), send_at=Now())


def wait_for_the_next_attempt(run: SagaRun) -> StepRun:
    """Return the step that failed once, when it is ready again."""
    until = monotonic() + 60
    while (row := step_of(run, "ask")).attempt == 0 or row.state != StepState.READY:
        assert monotonic() < until, run.explain()
        sleep(0.05)
    return row


@pytest.mark.timeout(180)
def test_between_two_attempts_every_worker_and_the_broker_may_be_replaced(
    worker_factory: WorkerFactory, redis_broker: str, redis_server: ServerProcess, tmp_path: Path
) -> None:
    book = str(tmp_path / "ledger.jsonl")
    run = start_saga(Weeks, Orders(book, {"ask": "network-once"}), key="weeks")
    workers = [worker_factory(redis_broker) for _ in range(2)]
    waiting = wait_for_the_next_attempt(run)
    assert waiting.due_at is not None
    assert waiting.due_at - waiting.updated_at == DAY
    assert run.deadline - run.created_at > MAX_EXECUTION_DURATION

    for worker in workers:
        worker.ask_to_stop()
    for worker in workers:
        worker.terminate()
    Redis.from_url(redis_broker).flushall()
    redis_server.kill()
    redis_server.start()
    assert fresh(run).state == SagaState.RUNNING
    pass_a_day(run)
    worker_factory(redis_broker)

    assert run.wait(60).state == SagaState.COMPLETED
    asked = [entry for entry in ledger.read(book) if entry.what == "ask"]
    assert [(entry.attempt, entry.phase) for entry in asked] == [
        (1, "began"),
        (2, "began"),
        (2, "ended"),
    ]
    assert len({entry.key for entry in asked}) == 1
    assert len({entry.pid for entry in asked}) == 2
