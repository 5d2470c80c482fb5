"""Queues that keep their messages: on RabbitMQ they are replicated (R119)."""

from pathlib import Path

import pytest

from config.environment import broker_transport_options, queue_type, task_queues
from tests.broker import queues_at


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://guest@localhost//", "quorum"),
        ("amqps://guest@localhost//", "quorum"),
        ("pyamqp://guest@localhost//", "quorum"),
        ("redis://localhost/0", "classic"),
        ("filesystem://localhost/", "classic"),
    ],
)
def test_the_broker_decides_the_type_of_queue(url: str, expected: str) -> None:
    assert queue_type(url) == expected


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAS_QUEUE_TYPE", "classic")
    assert queue_type("amqp://guest@localhost//") == "classic"


def test_every_queue_is_of_that_type() -> None:
    arguments = [queue.queue_arguments for queue in queues_at("amqp://guest@localhost//")]
    assert arguments == [{"x-queue-type": "quorum"}] * len(arguments)
    assert [queue.queue_arguments for queue in task_queues(["a"], "classic")] == [None]


def test_a_message_is_confirmed_before_it_counts_as_sent(tmp_path: Path) -> None:
    options = broker_transport_options("amqp://guest@localhost//", tmp_path)
    assert options["confirm_publish"] is True
