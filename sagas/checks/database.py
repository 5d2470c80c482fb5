"""The database that holds the rows, and how it is connected to."""

from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004 Django's word

from sagas.checks.pools import kind_of
from sagas.checks.tag import TAG
from sagas.database import saga_database


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
    return list(_connection_reuse(alias, database))


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
