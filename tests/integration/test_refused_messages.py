"""A message that cannot be sent holds up no other; a broker that takes nothing loses nothing (R83)."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from amqp.exceptions import NotFound, PreconditionFailed
from celery import current_app
from django.db.models.functions import Now
from kombu import Queue
from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import ReadOnlyError, ResponseError

from benchmarks.plant.servers.process import ServerProcess, binary
from sagas import start_saga, start_sagas
from sagas.engine import dispatch, recover
from sagas.engine.broker_errors import BrokerBlocked, is_about_broker
from sagas.engine.one_by_one import OneByOne
from sagas.engine.publishing import Publisher
from sagas.models import SagaRun, StepRun
from tests.driving import fresh, step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr("sagas.engine.resend._locked", OneByOne("sending"))
    fresh_one = Publisher()
    monkeypatch.setattr(dispatch, "_publisher", fresh_one)
    return fresh_one


def waiting(url: str, queue: str = "saga.steps") -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.llen(queue))


@pytest.fixture
def _only_declared_queues() -> Iterator[None]:
    """As projects do, to catch typing errors."""
    conf = current_app.conf
    before = conf.task_create_missing_queues
    conf.task_create_missing_queues = False
    queues: Any = current_app.amqp.queues
    create, queues.create_missing = queues.create_missing, False
    for name in ("saga.steps", "saga.coordinator"):
        queues.setdefault(name, Queue(name))
    try:
        yield
    finally:
        conf.task_create_missing_queues = before
        queues.create_missing = create


def misdirected(key: str) -> SagaRun:
    """Return a saga whose first message goes to a queue that nobody declared."""
    run = start_saga(Five, Script(), key=key)
    SagaRun.objects.filter(pk=run.pk).update(label="tests.Gone")
    StepRun.objects.filter(run=run, name="a").update(
        options={"queue": "typo"}, send_at=Now(), sent_at=None
    )
    return run


@pytest.mark.redis
@pytest.mark.usefixtures("_only_declared_queues")
class TestOneRefusedMessage:
    def test_backs_off_alone_and_the_others_are_sent(
        self, redis_broker: str, publisher: Publisher, caplog: pytest.LogCaptureFixture
    ) -> None:
        bad = [misdirected(f"bad {number}") for number in range(3)]
        good = start_saga(Five, Script(), key="good")
        StepRun.objects.filter(run=good, name="a").update(send_at=Now(), sent_at=None)
        before = waiting(redis_broker)
        assert recover.sweep().sent == 1
        assert waiting(redis_broker) == before + 1
        assert not publisher.is_paused()
        row = step_of(fresh(bad[0]), "a")
        assert row.sent_at is None
        assert not StepRun.objects.filter(pk=row.pk, send_at__lte=Now()).exists()
        assert recover.sweep().sent == 0
        (told,) = [r for r in caplog.records if getattr(r, "action", "") == "message_refused"]
        assert "typo" in told.getMessage()

    def test_leaves_a_start_after_it_to_be_sent_at_once(self, redis_broker: str) -> None:
        run = misdirected("bad")
        assert not dispatch.send(fresh(run), step_of(run, "a"))
        before = waiting(redis_broker)
        start_saga(Five, Script(), key="good")
        assert waiting(redis_broker) == before + 1

    def test_of_many_leaves_the_others_to_be_sent(
        self, redis_broker: str, publisher: Publisher
    ) -> None:
        bad = misdirected("bad")
        runs = start_sagas(Five, [Script()] * 3, keys=[*"abc"])
        with redis.Redis.from_url(redis_broker) as client:
            client.delete("saga.steps")
        steps = [step_of(run, "a") for run in (runs[0], bad, *runs[1:])]
        publisher.publish_all([dispatch._message(fresh(step.run), step) for step in steps])
        assert waiting(redis_broker) == 3
        assert not publisher.is_paused()


def test_an_outage_counts_as_no_send(publisher: Publisher) -> None:
    run = start_saga(Five, Script(), key="k")
    publisher._paused_until = time.monotonic() + 60
    for _ in range(3):
        StepRun.objects.filter(run=run, state="ready").update(send_at=Now(), sent_at=None)
        assert recover.sweep().sent == 0
    assert step_of(run, "a").sends == 1


@pytest.mark.redis
def test_what_a_full_redis_refuses_is_sent_when_it_takes_messages_again(
    redis_broker: str, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(redis_broker) as client:
        before = client.config_get("maxmemory", "maxmemory-policy")
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
        try:
            runs = [start_saga(Five, Script(), key=str(number)) for number in range(20)]
            assert publisher.is_paused()
        finally:
            for name, value in before.items():
                client.config_set(name, value)
    assert waiting(redis_broker) == 0
    told = [r for r in caplog.records if getattr(r, "action", "") == "send_failed"]
    assert len([r for r in told if r.levelname == "WARNING"]) == 1
    publisher._paused_until = 0.0
    StepRun.objects.filter(run__in=runs, state="ready").update(send_at=Now())
    assert recover.sweep().sent == 20
    assert waiting(redis_broker) == 20
    assert any(getattr(r, "action", "") == "send_recovered" for r in caplog.records)


def control(server: ServerProcess, *command: str) -> None:
    program = binary("rabbitmqctl", "/usr/lib/rabbitmq/bin", package="rabbitmq-server")
    environment = {**os.environ, **server.environment}
    node = server.environment["RABBITMQ_NODENAME"]
    subprocess.run([program, "-n", node, *command], env=environment, check=True, timeout=60)


MEMORY = ("set_vm_memory_high_watermark", "0", "0.4")
DISK = ("set_disk_free_limit", "9999GB", "1MB")


@contextmanager
def alarmed(server: ServerProcess, command: str, too_strict: str, usual: str) -> Iterator[None]:
    """Let RabbitMQ have no memory left, or too little disk."""
    control(server, command, too_strict)
    try:
        yield
    finally:
        control(server, command, usual)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("alarm", [MEMORY, DISK], ids=["memory", "disk"])
def test_what_an_alarmed_rabbitmq_does_not_take_is_sent_when_the_alarm_is_over(
    alarm: tuple[str, str, str],
    rabbitmq_broker: str,
    rabbitmq_server: ServerProcess,
    publisher: Publisher,
) -> None:
    with alarmed(rabbitmq_server, *alarm):
        runs = [start_saga(Five, Script(), key=str(number)) for number in range(5)]
        assert publisher.is_paused()
    publisher._paused_until = 0.0
    StepRun.objects.filter(run__in=runs, state="ready").update(send_at=Now(), sent_at=None)
    assert recover.sweep().sent == 5
    assert not publisher.is_paused()


def caused_by(cause: Exception) -> OperationalError:
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("connection refused"), True),
        (OperationalError("connection refused"), True),
        (caused_by(ConnectionResetError()), True),
        (BrokerBlocked(), True),
        (ReadOnlyError("a replica"), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), True),
        (ResponseError("WRONGTYPE Operation against a key"), False),
        (caused_by(PreconditionFailed("inequivalent arg")), False),
        (NotFound("no exchange"), False),
        (KeyError("Queue 'typo' missing from task_queues"), False),
        (EncodeError("not JSON"), False),
        (TypeError("no priority"), False),
    ],
    ids=str,
)
def test_whose_trouble_an_error_is(error: Exception, *, expected: bool) -> None:
    assert is_about_broker(error) is expected
