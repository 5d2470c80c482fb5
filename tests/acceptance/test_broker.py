"""The broker is dead, mute or slow: starting never hangs and never fails because of it (R34, R35)."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from django.db import transaction
from pytest_django import Settings

from benchmarks.plant.servers.process import free_port
from sagas import start_saga, start_sagas
from sagas.engine import dispatch
from sagas.engine.publishing import Publisher
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.broker import publishing_to
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.sagas import Orders, Parallel, Routed


pytestmark = [pytest.mark.acceptance, pytest.mark.redis]

PATIENCE = 30.0
"""Seconds; the bound is a few socket time-outs, where Celery's own default has none."""


@pytest.fixture(autouse=True)
def _fresh_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_publisher", Publisher())


@contextmanager
def mute_server() -> Iterator[int]:
    """Accept connections and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def start(book: Path, key: str, saga: type[Parallel | Routed] = Parallel) -> SagaRun:
    with transaction.atomic():
        return start_saga(saga, Orders(str(book)), key=key)


class TestUnreachable:
    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_a_mute_broker_costs_one_bounded_wait_and_then_none(
        self, transactional_db: None, tmp_path: Path, scheme: str
    ) -> None:
        with mute_server() as port, publishing_to(f"{scheme}://127.0.0.1:{port}/"):
            began = time.monotonic()
            assert start(tmp_path, "first").created
            first = time.monotonic() - began
            for number in range(20):
                assert start(tmp_path, str(number)).created
        assert first < PATIENCE
        # Twenty more of such waits would take longer.
        assert time.monotonic() - began < 2 * PATIENCE

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_many_at_once_wait_for_a_mute_broker_as_one_does(
        self, transactional_db: None, tmp_path: Path, scheme: str
    ) -> None:
        keys = [str(number) for number in range(300)]
        with mute_server() as port, publishing_to(f"{scheme}://127.0.0.1:{port}/"):
            began = time.monotonic()
            runs = start_sagas(Parallel, [Orders(str(tmp_path))] * len(keys), keys=keys)
            waited = time.monotonic() - began
        assert all(run.created for run in runs)
        assert waited < PATIENCE

    def test_what_was_started_without_a_broker_runs_when_there_is_one(
        self,
        tmp_path: Path,
        redis_broker: str,
        worker_factory: WorkerFactory,
        settings: Settings,
    ) -> None:
        settings.SAGAS = {**settings.SAGAS, "RESEND_SECONDS": 2.0}
        book = tmp_path / "ledger"
        with publishing_to(f"redis://127.0.0.1:{free_port()}/0"):
            run = start(book, "dead")
        assert run.created
        worker_factory(redis_broker)
        assert run.wait(60).state == SagaState.COMPLETED


class TestQueues:
    def test_the_broker_says_whether_a_queue_is_empty(
        self, transactional_db: None, tmp_path: Path, redis_broker: str
    ) -> None:
        assert dispatch.is_empty("saga.steps")
        start(tmp_path, "waiting")
        assert not dispatch.is_empty("saga.steps")
        assert dispatch.is_empty("slow-gateway")

    def test_a_broker_that_does_not_say_is_not_taken_for_empty(self) -> None:
        with publishing_to(f"redis://127.0.0.1:{free_port()}/0"):
            assert not dispatch.is_empty("saga.steps")

    def test_each_step_is_on_its_own_queue_and_the_rest_on_the_default_ones(
        self, tmp_path: Path, redis_broker: str, worker_factory: WorkerFactory
    ) -> None:
        broker = redis.Redis.from_url(redis_broker)
        run = start(tmp_path / "ledger", "routed", Routed)
        assert broker.llen("saga.steps") == 1
        worker_factory(redis_broker, queues=["saga.steps", "saga.coordinator"])
        ledger.wait_for(tmp_path / "ledger", "common", phase="ended")
        wait_for_length(broker, "slow-gateway", 1)
        assert run.next_step() is not None
        # A worker without -Q consumes every queue that a saga names.
        worker_factory(redis_broker)
        assert run.wait(60).state == SagaState.COMPLETED

    def test_a_stalled_queue_holds_up_no_other_saga(
        self, tmp_path: Path, redis_broker: str, worker_factory: WorkerFactory
    ) -> None:
        worker_factory(redis_broker, queues=["saga.steps", "saga.coordinator"])
        stalled = [start(tmp_path / "ledger", f"stalled-{n}", Routed) for n in range(5)]
        others = [start(tmp_path / "ledger", f"other-{n}") for n in range(5)]
        assert [run.wait(60).state for run in others] == [SagaState.COMPLETED] * 5
        for run in stalled:
            run.refresh_from_db()
        assert [run.state for run in stalled] == [SagaState.RUNNING] * 5

    def test_the_default_queues_are_settings_for_publishing_and_consuming(
        self,
        tmp_path: Path,
        redis_broker: str,
        worker_factory: WorkerFactory,
        settings: Settings,
    ) -> None:
        names = {"STEP_QUEUE": "mine.steps", "COMPENSATION_QUEUE": "mine.undo"}
        settings.SAGAS = names
        broker = redis.Redis.from_url(redis_broker)
        script = {"join": "permanent"}
        run = start_saga(Parallel, Orders(str(tmp_path / "ledger"), script), key="k")
        assert broker.llen("mine.steps") == 1
        own = {"SAGAS_TEST_QUEUES": "mine.steps,mine.undo"}
        worker_factory(redis_broker, queues=["mine.steps"], environment=own)
        wait_for_length(broker, "mine.undo", 1)
        worker_factory(redis_broker, queues=["mine.steps", "mine.undo"], environment=own)
        assert run.wait(60).state == SagaState.COMPENSATED


def wait_for_length(broker: "redis.Redis", queue: str, length: int) -> None:
    until = time.monotonic() + 60
    while broker.llen(queue) != length:
        assert time.monotonic() < until, f"{queue} holds {broker.llen(queue)}, not {length}"
        time.sleep(0.05)
