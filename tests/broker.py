"""Point this process's Celery application at another broker, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu.pools
from django.conf import settings
from kombu import Connection, Queue

from config.celery import app
from config.environment import broker_transport_options, queue_type, task_queues


@contextmanager
def publishing_to(url: str, *, data_dir: Path | None = None) -> Iterator[None]:
    """Send this process's messages to the broker at ``url``, or to the queue folder in a place."""
    values = {
        "broker_url": url,
        "broker_transport_options": broker_transport_options(
            url, data_dir or Path(settings.DATA_DIR)
        ),
        "task_queues": queues_at(url),
        "task_create_missing_queue_type": queue_type(url),
        "task_default_queue_type": queue_type(url),
    }
    before = {name: app.conf[name] for name in values}
    _configure(values)
    try:
        yield
    finally:
        _configure(before)


def queues_at(url: str) -> list[Queue]:
    """Return the queues that the settings name, of the type that this broker has."""
    return task_queues((queue.name for queue in settings.CELERY_TASK_QUEUES), queue_type(url))


def purge(url: str) -> None:
    """Empty the queues that the settings name."""
    with Connection(url) as connection:
        for queue in queues_at(url):
            bound = queue(connection.default_channel)
            bound.declare()
            bound.purge()


def configure(values: dict[str, Any]) -> None:
    """Change Celery's settings, under the names that Django's have: older Celery looks there first."""
    for name, value in values.items():
        app.conf[f"CELERY_{name.removeprefix('CELERY_').upper()}"] = value


def _configure(values: dict[str, Any]) -> None:
    configure(values)
    # Connections are pooled, by the application and for the whole process.
    app.pool.force_close_all()  # type: ignore[attr-defined]
    app._pool = None  # type: ignore[attr-defined]
    app.amqp._producer_pool = None  # type: ignore[attr-defined]
    # What was made of the queues is cached.
    for name in ("queues", "router"):
        app.amqp.__dict__.pop(name, None)
    kombu.pools.reset()
