"""What the environment says, as Django and Celery want to hear it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from config import queue_folder


def flag(name: str, *, default: bool) -> bool:
    """Read ``NAME=1`` or ``NAME=0``."""
    value = os.environ.get(name, "").strip().lower()
    return value in {"1", "true", "yes", "on"} if value else default


def names(name: str, *, default: list[str]) -> list[str]:
    """Read ``NAME=one,two``."""
    value = os.environ.get(name, "")
    return [part.strip() for part in value.split(",") if part.strip()] or default


def number(name: str) -> int:
    """Read ``NAME=20``; 0 without it."""
    return int(os.environ.get(name) or 0)


def database(url: str, *, pool: int = 0) -> dict[str, Any]:
    """Read ``postgresql://user:password@host:port/name`` or ``sqlite:////absolute/path``.

    ``pool``: at most so many connections to PostgreSQL, which all threads of a process share.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path.removeprefix("/"))))
    if parts.scheme in {"postgres", "postgresql"}:
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        if pool:
            options["pool"] = {"min_size": 1, "max_size": pool, "timeout": 10}
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            "OPTIONS": options,
            # A worker keeps its connection between tasks (CELERY_DB_REUSE_MAX), a web process
            # between requests; the health check is what makes a restarted server harmless. What
            # comes from a pool goes back to it, and is looked at when it turns out to be lost.
            "CONN_MAX_AGE": 0 if pool else 600,
            "CONN_HEALTH_CHECKS": not pool,
        }
    raise ImproperlyConfigured(
        f"DATABASE_URL starts with {parts.scheme!r}; it must be postgresql:// or sqlite:///."
    )


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            # A deferred transaction that reads and then writes fails at once with "database is
            # locked", whatever the timeout; an immediate one waits its turn.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        # Never :memory:, which worker processes could not see.
        "TEST": {"NAME": str(path.with_name(f"test_{path.name}"))},
    }


def queue_type(url: str) -> str:
    """Return ``quorum`` on RabbitMQ, whose classic queues lose messages; ``SAGAS_QUEUE_TYPE`` chooses."""
    scheme = urlsplit(url).scheme
    replicated = "quorum" if scheme in {"amqp", "amqps", "pyamqp"} else "classic"
    return os.environ.get("SAGAS_QUEUE_TYPE") or replicated


def task_queues(names: Iterable[str], type_: str) -> list[Queue]:
    """Return queues of one type. A queue cannot change its type: delete it, then declare it anew."""
    arguments = {"x-queue-type": "quorum"} if type_ == "quorum" else None
    return [Queue(name, routing_key=name, queue_arguments=arguments) for name in names]


def broker_transport_options(url: str, data_dir: Path) -> dict[str, Any]:
    """Bound every wait on the broker, and make it confirm what it can confirm."""
    scheme = urlsplit(url).scheme
    if scheme == "filesystem":
        return _queue_folder(data_dir)
    if scheme in {"redis", "rediss", "sentinel"}:
        return {
            "socket_connect_timeout": 2,
            # Longer than the blocking read of one second by which a worker waits for messages.
            "socket_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # Threads and greenlets acknowledge side by side; at kombu's limit of 10 the next one fails.
            "max_connections": 250,
        }
    if scheme in {"amqp", "amqps", "pyamqp"}:
        return {
            "confirm_publish": True,
            "connect_timeout": 4,
            "read_timeout": 2,
            "write_timeout": 2,
        }
    return {}


def _queue_folder(data_dir: Path) -> dict[str, Any]:
    queue_folder.install()
    queue, control = data_dir / "queue", data_dir / "control"
    for folder in (queue, control):
        folder.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(control),
        "store_processed": False,
        "polling_interval": 0.02,
    }
