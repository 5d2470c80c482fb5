"""The database that holds the rows, and how it is connected to."""

from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004 Django's word

from sagas.checks.pools import kind_of
from sagas.checks.tag import TAG
from sagas.engine.database import saga_database


READ_COMMITTED = 2
"""``psycopg.IsolationLevel.READ_COMMITTED``."""


@register(TAG, deploy=True)
def check_database(**_: Any) -> list[CheckMessage]:
    """Report a database that is weaker or slower than it could be."""
    alias = saga_database()
    database: dict[str, Any] = settings.DATABASES[alias]
    if database["ENGINE"].endswith("sqlite3"):
        return [
            Warning(
                f"The sagas are in SQLite (DATABASES[{alias!r}]): one writer at a time, one machine.",
                hint="Use PostgreSQL in production.",
                id="sagas.W001",
            )
        ]
    return [*_connection_reuse(alias, database), *_isolation_level(alias, database)]


def _isolation_level(alias: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    """What a higher level than Django's breaks; the engine's own transactions are not affected."""
    level = database.get("OPTIONS", {}).get("isolation_level")
    if level is not None and int(level) != READ_COMMITTED:
        yield Warning(
            f"DATABASES[{alias!r}] has an isolation_level above READ COMMITTED: whoever starts or"
            " changes a saga in a transaction of their own may get a serialization failure"
            ' ("could not serialize access", OperationalError), and so may handlers.',
            hint="Try such a transaction again as a whole; the sagas' own ones are READ COMMITTED.",
            id="sagas.W016",
        )


def _connection_reuse(alias: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    kind = kind_of(current_app.conf.worker_pool)
    if (database.get("OPTIONS") or {}).get("pool") or kind in {"gevent", "eventlet"}:
        return  # checks/pools.py says what there is to say
    slow = "a new connection costs more than the whole transition"
    if not current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield Warning(
            f"CELERY_DB_REUSE_MAX is not set, so workers reconnect for every task; {slow}.",
            hint="Set CELERY_DB_REUSE_MAX = 1000 in the Django settings.",
            id="sagas.W007",
        )
    if database.get("CONN_MAX_AGE", 0) == 0:
        yield Warning(
            f"CONN_MAX_AGE of DATABASES[{alias!r}] is 0, so no connection is kept; {slow}.",
            hint=f'Set DATABASES[{alias!r}]["CONN_MAX_AGE"] = 600.',
            id="sagas.W008",
        )
    elif not database.get("CONN_HEALTH_CHECKS"):
        yield Warning(
            f"CONN_HEALTH_CHECKS of DATABASES[{alias!r}] is off: after a restart of the database"
            " the kept connections fail once each.",
            hint=f'Set DATABASES[{alias!r}]["CONN_HEALTH_CHECKS"] = True.',
            id="sagas.W009",
        )
