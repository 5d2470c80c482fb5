"""The real parts answer, and a real worker can be started and killed."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from celery import current_app
from django.db import connection
from kombu import Connection

from benchmarks.plant.servers.process import ServerProcess
from benchmarks.plant.worker_process import WorkerProcess
from tests.broker import publishing_to
from tests.conftest import WorkerFactory


class TestServers:
    @pytest.mark.postgres
    def test_postgres_answers_again_after_it_was_killed(
        self, postgres_server: ServerProcess
    ) -> None:
        postgres_server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgres_server.url)
        postgres_server.start()
        with psycopg.connect(postgres_server.url) as database:
            assert database.execute("select 1").fetchone() == (1,)

    @pytest.mark.redis
    def test_redis_keeps_its_messages_when_it_is_killed(self, redis_server: ServerProcess) -> None:
        with redis.Redis.from_url(redis_server.url) as client:
            client.rpush("some.queue", "message")
            # What was handed to the system survives the process.
            _wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0)
        redis_server.kill()
        redis_server.start()
        with redis.Redis.from_url(redis_server.url) as client:
            assert client.lrange("some.queue", 0, -1) == [b"message"]

    @pytest.mark.rabbitmq
    def test_rabbitmq_takes_and_gives_a_message(self, rabbitmq_server: ServerProcess) -> None:
        with Connection(rabbitmq_server.url) as broker:
            queue = broker.SimpleQueue("hello")
            queue.put({"hello": "world"})
            message = queue.get(timeout=60)
            message.ack()
            queue.close()
        assert message.payload == {"hello": "world"}


class TestDatabaseUnderTest:
    @pytest.mark.django_db
    def test_the_name_of_the_database_is_known_to_other_processes(self, worker_id: str) -> None:
        name = str(connection.settings_dict["NAME"])
        assert Path(name).name.removesuffix(f"_{worker_id}") in {"test_sagas", "test_sagas.sqlite3"}
        assert ":memory:" not in name


@pytest.mark.acceptance
class TestWorkerProcess:
    @pytest.mark.redis
    def test_runs_a_message_on_redis_and_dies_with_its_children(
        self, redis_broker: str, worker_factory: WorkerFactory
    ) -> None:
        _runs_a_message_and_dies(worker_factory(redis_broker, queues=["celery"]))

    @pytest.mark.rabbitmq
    def test_runs_a_message_on_rabbitmq_and_dies_with_its_children(
        self, rabbitmq_broker: str, worker_factory: WorkerFactory
    ) -> None:
        _runs_a_message_and_dies(worker_factory(rabbitmq_broker, queues=["celery"]))

    def test_runs_a_message_from_the_embedded_queue_folder(
        self, worker_factory: WorkerFactory, tmp_path: Path
    ) -> None:
        worker = worker_factory("filesystem://")
        with publishing_to("filesystem://", data_dir=tmp_path):
            _runs_a_message_and_dies(worker)


def _runs_a_message_and_dies(worker: WorkerProcess) -> None:
    children = worker.child_pids()
    assert len(children) == worker.concurrency

    current_app.send_task("celery.accumulate", args=[1, 2], queue="celery")
    _wait_until(lambda: "celery.accumulate" in worker.log.read_text())
    _wait_until(lambda: "succeeded" in worker.log.read_text())

    worker.kill()
    assert not worker.alive
    _wait_until(lambda: not any(psutil.pid_exists(pid) for pid in children))


def _wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
