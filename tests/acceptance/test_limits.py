"""The limits of a handler end with it: they interrupt nothing else, and kill nothing that stays (B7, B14)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import transaction

from sagas import start_saga
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.driving import step_of
from tests.flows import ledger
from tests.flows.sagas import Limited, Orders, SoftLimited, Unlimited


pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.redis,
    pytest.mark.postgres,
    pytest.mark.timeout(180),
]

PATIENCE = 80
"""Seconds after which a run is stuck: far more than it takes, on a machine that is busy."""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@contextmanager
def locked(run: SagaRun, name: str = "") -> Iterator[None]:
    """Hold the lock of the run, or of one of its steps, beyond every limit of ``SoftLimited``."""
    with transaction.atomic():
        if name:
            StepRun.objects.select_for_update().get(run=run, name=name)
        else:
            SagaRun.objects.select_for_update().get(pk=run.pk)
        yield
        time.sleep(6)


def test_no_limit_falls_into_the_recording_of_an_outcome(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    worker = worker_factory(redis_broker, concurrency=1)
    (child,) = worker.child_pids()
    # Two things follow from it, so the run's lock is needed.
    run = start_saga(SoftLimited, Orders(str(book), {"work": "after=locked"}), key="k")
    ledger.wait_for(book, "work")
    with locked(run):
        ledger.say(book, "locked", of=run.pk)
        ledger.wait_for(book, "work", phase="ended")
    assert run.wait(PATIENCE).state == SagaState.COMPLETED
    assert ledger.began(book) == ["work", "locked"]
    assert worker.child_pids() == [child]


def test_a_claim_that_waits_takes_nothing_from_the_handlers_time(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    run = start_saga(SoftLimited, Orders(str(book), {"work": "sleep=1"}), key="k")
    with locked(run, "work"):
        worker_factory(redis_broker, concurrency=1)
    assert run.wait(PATIENCE).state == SagaState.COMPLETED
    assert ledger.began(book) == ["work"]


def test_a_handler_is_interrupted_at_its_soft_limit_also_after_a_claim_that_waited(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    runs = [
        start_saga(SoftLimited, Orders(str(book), {"work": "sleep=600"}), key=key) for key in "ab"
    ]
    with locked(runs[0], "work"):
        worker_factory(redis_broker, concurrency=2)
    for run in runs:
        assert run.wait(PATIENCE).state == SagaState.COMPENSATED
        row = step_of(run, "work")
        assert (row.state, row.error_code) == (StepState.COMPENSATED, "STEP_TIMEOUT")
        assert row.error == "the soft time limit of 2 s was reached"


def test_the_workers_own_limits_spare_the_engine_and_the_next_step(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    worker_factory(
        redis_broker, concurrency=1, options=["--soft-time-limit", "3", "--time-limit", "4"]
    )
    script = {"one": "sleep=2", "two": "after=locked"}
    run = start_saga(Unlimited, Orders(str(book), script), key="k")
    ledger.wait_for(book, "two")
    with locked(run):
        ledger.say(book, "locked", of=run.pk)
        ledger.wait_for(book, "two", phase="ended")
    assert run.wait(PATIENCE).state == SagaState.COMPLETED
    assert ledger.began(book) == ["one", "two", "locked"]


def test_the_workers_own_soft_limit_interrupts_a_handler(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    worker_factory(redis_broker, concurrency=1, options=["--soft-time-limit", "2"])
    run = start_saga(Unlimited, Orders(str(book), {"one": "sleep=600"}), key="k")
    assert run.wait(PATIENCE).state == SagaState.COMPENSATED
    assert step_of(run, "one").error_code == "STEP_TIMEOUT"


def test_the_workers_own_soft_limit_interrupts_a_handler_also_after_a_claim_that_waited(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    run = start_saga(Unlimited, Orders(str(book), {"one": "sleep=600"}), key="k")
    with locked(run, "one"):
        worker_factory(redis_broker, concurrency=1, options=["--soft-time-limit", "2"])
    assert run.wait(PATIENCE).state == SagaState.COMPENSATED
    assert step_of(run, "one").error_code == "STEP_TIMEOUT"


def test_a_worker_that_is_no_child_of_a_pool_outlives_a_handler_past_its_time_limit(
    book: Path, worker_factory: WorkerFactory, redis_broker: str
) -> None:
    worker = worker_factory(redis_broker, options=["-P", "solo"])
    run = start_saga(Limited, Orders(str(book), {"second": "sleep=5"}), key="k")
    assert run.wait(PATIENCE).state == SagaState.COMPLETED
    assert worker.alive
    assert "its process ends" not in worker.log.read_text()
