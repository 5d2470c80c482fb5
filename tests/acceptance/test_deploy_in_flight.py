"""A deploy renames a queue, removes and adds steps and changes a type, while sagas are in flight (R9, R53).

None turns back and none is lost: what the new release can run goes on at once, and what it cannot waits,
and says so, until a release that can.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db.models.functions import Now

from sagas import start_sagas
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.releases import First, Released


if TYPE_CHECKING:
    from benchmarks.plant.worker_process import WorkerProcess


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.postgres]

QUEUES = {"1": "released.old", "2": "released.new", "3": "released.new"}
SOON = {"RESEND_SECONDS": 1.0, "RESEND_MAX_SECONDS": 2.0}


@pytest.fixture(params=[60, pytest.param(3000, marks=pytest.mark.slow)])
def many(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


class Deploy:
    """Workers of one release after another."""

    def __init__(self, start: WorkerFactory, broker: str) -> None:
        self._start = start
        self._broker = broker
        self._workers: list[WorkerProcess] = []

    def release(self, number: str) -> None:
        """End the old workers as a deploy does, and start those of a release."""
        for worker in self._workers:
            worker.terminate()
        environment = {"SAGAS_TEST_RELEASE": number, "SAGAS_LOG_LEVEL": "WARNING"}
        self._workers = [
            self._start(
                self._broker,
                environment=environment,
                settings=SOON,
                queues=["saga.steps", "saga.compensate", "saga.coordinator", QUEUES[number]],
            )
            for _ in range(2)
        ]

    @property
    def log(self) -> str:
        """What the workers of now have printed."""
        return "\n".join(worker.log.read_text() for worker in self._workers)


@pytest.fixture
def deploy(worker_factory: WorkerFactory, redis_broker: str) -> Deploy:
    return Deploy(worker_factory, redis_broker)


def wait_until(fact: Callable[[], bool], seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, [run.explain() for run in SagaRun.objects.all()[:3]]
        time.sleep(0.2)


def at(name: str) -> Callable[[int], bool]:
    waiting = StepRun.objects.filter(name=name, state=StepState.READY, error_code="UNKNOWN_HANDLER")
    return lambda number: waiting.count() == number


@pytest.mark.timeout(900)
def test_no_saga_in_flight_turns_back_or_is_lost(deploy: Deploy, tmp_path: Path, many: int) -> None:
    book = str(tmp_path / "ledger")
    keys = [str(number) for number in range(many)]
    start_sagas(Released, [First(book)] * many, keys=keys)
    deploy.release("1")
    wait_until(lambda: bool(ledger.read(book)))

    deploy.release("2")  # in the middle
    done = SagaRun.objects.filter(state=SagaState.COMPLETED)
    waiting = at("c")
    wait_until(lambda: waiting(many - done.count()))
    told = SagaRun.objects.filter(state=SagaState.RUNNING).first()
    if told is not None:
        assert "UNKNOWN_HANDLER" in told.explain()
        assert "has no step 'c' in this code" in told.explain()

    deploy.release("1")  # the step is needed after all
    StepRun.objects.filter(state=StepState.READY).update(due_at=Now(), send_at=Now())
    wait_until(lambda: done.count() == many)
    acts = Counter(entry.what for entry in ledger.read(book))
    assert {"a", "b", "c"} == set(acts)
    keys_of_acts = {(entry.what, entry.key) for entry in ledger.read(book)}
    assert len(keys_of_acts) == 3 * many


@pytest.mark.timeout(300)
def test_a_saga_that_turns_back_is_undone_where_the_new_release_listens(
    deploy: Deploy, tmp_path: Path
) -> None:
    book = str(tmp_path / "ledger")
    (run,) = start_sagas(Released, [First(book)], keys=["k"])
    deploy.release("2")
    wait_until(lambda: at("c")(1))
    cancel_saga(run, reason="no longer wanted")
    assert run.wait(60).state == SagaState.CANCELLED
    assert [entry.what for entry in ledger.read(book)] == ["a", "b", "undo b", "undo a"]


@pytest.mark.timeout(300)
def test_an_input_that_the_new_release_cannot_read_waits_and_loses_no_attempt(
    deploy: Deploy, tmp_path: Path
) -> None:
    book = str(tmp_path / "ledger")
    (run,) = start_sagas(Released, [First(book)], keys=["k"])
    deploy.release("3")
    wait_until(lambda: bool(StepRun.objects.get(run=run, name="a").error))
    row = StepRun.objects.get(run=run, name="a")
    assert (row.state, row.attempt) == (StepState.READY, 0)
    assert "currency" in row.error
    cancelled = start_sagas(Released, [First(book)], keys=["other"])
    assert SagaRun.objects.get(pk=run.pk).state == SagaState.RUNNING
    assert "Traceback" not in deploy.log

    deploy.release("2")
    StepRun.objects.filter(state=StepState.READY).update(due_at=Now(), send_at=Now())
    wait_until(lambda: at("c")(len(cancelled) + 1))
    assert {entry.what for entry in ledger.read(book)} == {"a", "b"}
