"""The pool of the workers, and the connections to the database that it takes.

What a worker is told with ``-P`` no setting knows, so a worker says the same of its own pool at its
start (:func:`problems_of_pool`).
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 Django's word

from sagas.checks.tag import TAG
from sagas.engine.database import saga_database


KOMBU_MAX_CONNECTIONS = 10
"""What kombu takes when ``max_connections`` is not set."""

CANNOT_STOP = "sagas.W010"
"""The id of what is so by the nature of a pool, and is no mistake."""

_KINDS = {
    "prefork": "prefork",
    "processes": "prefork",
    "thread": "threads",
    "gevent": "gevent",
    "eventlet": "eventlet",
    "solo": "solo",
}
_HINT = (
    'Set OPTIONS["pool"] = {"max_size": 20} and CONN_MAX_AGE = 0 on the database, leave'
    " CELERY_DB_REUSE_MAX out, and install psycopg[pool]."
)


@register(TAG, deploy=True)
def check_pool(**_: Any) -> list[CheckMessage]:
    """Report a pool that is not supported, or is connected to the database in a way that it breaks."""
    return list(problems_of_pool(current_app.conf.worker_pool, current_app.conf.worker_concurrency))


def kind_of(pool: Any) -> str:
    """Return ``prefork``, ``threads``, ``solo``, ``gevent`` or ``eventlet``; "" for another one."""
    name = pool if isinstance(pool, str) else f"{pool.__module__}:{pool.__qualname__}"
    return next((kind for word, kind in _KINDS.items() if word in name.lower()), "")


def problems_of_pool(pool: Any, concurrency: int | None) -> Iterator[CheckMessage]:
    """Say what is wrong with a pool of so many processes, threads or greenlets."""
    kind = kind_of(pool)
    if kind == "eventlet":
        yield Error(
            "The pool eventlet is not supported: psycopg 3 waits for its server without letting other"
            " greenlets run, so one statement that waits for a lock stops the worker, its leases too.",
            hint="Use -P gevent, -P threads or -P prefork.",
            id="sagas.E022",
        )
        return
    if kind != "prefork":
        yield from _unstoppable(pool, kind)
    database: dict[str, Any] = settings.DATABASES[saga_database()]
    if not database["ENGINE"].endswith("postgresql"):
        return
    if (database.get("OPTIONS") or {}).get("pool"):
        yield from _with_djangos_pool(kind, database)
    elif kind == "gevent":
        yield from _greenlets_without_pool()
    if kind in {"threads", "gevent"}:
        yield from _broker_connections(kind, concurrency)


def _unstoppable(pool: Any, kind: str) -> Iterator[CheckMessage]:
    which = "a handler that waits for nothing" if kind == "gevent" else "a handler"
    yield Warning(
        f"worker_pool is {pool!r}, which cannot stop {which} at its time_limit.",
        hint="The attempt is given up then, but the handler goes on: let it call"
        " self.heartbeat(), or use the prefork pool.",
        id=CANNOT_STOP,
    )


def _with_djangos_pool(kind: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    if find_spec("psycopg_pool") is None:
        yield Error(
            'OPTIONS["pool"] of the database is set, and psycopg_pool is not installed: Django refuses'
            " every connection.",
            hint='pip install "psycopg[pool]"',
            id="sagas.E023",
        )
    if database.get("CONN_MAX_AGE", 0) != 0:
        yield Error(
            'OPTIONS["pool"] and CONN_MAX_AGE of the database are both set: Django refuses every'
            " connection.",
            hint="Set CONN_MAX_AGE = 0; the pool keeps the connections.",
            id="sagas.E019",
        )
    if kind in {"prefork", "solo"}:
        yield Warning(
            f'OPTIONS["pool"] of the database is set for {kind}: a process that runs one task at a time'
            " shares it with nobody, and Celery closes it around every task.",
            hint='Leave "pool" out for these workers; set CONN_MAX_AGE = 600 and'
            " CELERY_DB_REUSE_MAX = 1000.",
            id="sagas.W011",
        )
    elif current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield Warning(
            "CELERY_DB_REUSE_MAX is set beside Django's pool: a thread keeps what another task of"
            " yours took from the pool, and the others wait for it until they fail.",
            hint="Remove CELERY_DB_REUSE_MAX; giving back costs nothing.",
            id="sagas.W012",
        )


def _greenlets_without_pool() -> Iterator[CheckMessage]:
    if current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield Error(
            "CELERY_DB_REUSE_MAX is set for gevent: every task is a greenlet of its own, whose"
            " connection stays open after it, until PostgreSQL has too many clients.",
            hint=_HINT,
            id="sagas.E024",
        )
    else:
        yield Warning(
            "Greenlets without Django's pool: each task opens a connection, which costs more than"
            " a step, and there may be as many at once as greenlets.",
            hint=_HINT,
            id="sagas.W013",
        )


def _broker_connections(kind: str, concurrency: int | None) -> Iterator[CheckMessage]:
    if str(current_app.connection_for_write().transport_cls) not in {"redis", "rediss", "sentinel"}:
        return
    options: dict[str, Any] = current_app.conf.broker_transport_options or {}
    allowed = options.get("max_connections", KOMBU_MAX_CONNECTIONS)
    if allowed < (concurrency or KOMBU_MAX_CONNECTIONS + 1):
        yield Warning(
            f"CELERY_BROKER_TRANSPORT_OPTIONS allows {allowed} connections to Redis: when more {kind}"
            " acknowledge at once, some cannot, and their messages come again.",
            hint='Set "max_connections" there above the worker\'s concurrency.',
            id="sagas.W014",
        )
