"""Which database holds the rows, and how long to wait for its locks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connections, router, transaction

from sagas.models import SagaRun


class LockNotGranted(Exception):
    """Somebody else kept a lock for longer than this one was ready to wait."""


def saga_database() -> str:
    """Return the alias that saga rows are written to, as the project's routers say."""
    return router.db_for_write(SagaRun)


def claim_checks_health() -> None:
    """Spare the query that asks whether a kept connection lives: the claim, which comes first, tells.

    It is guarded, and tried again on a new connection.
    """
    connection: Any = connections[saga_database()]
    connection.health_check_done = True


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Open a transaction in which no statement waits longer than this for another one's lock.

    On PostgreSQL and SQLite; elsewhere a statement waits as long as the database lets it.

    Raises:
        LockNotGranted: it would have had to. Nothing was changed.
    """
    try:
        begin = transaction.atomic(using=saga_database())
        with _busy_timeout(seconds), begin, _lock_timeout(seconds):
            yield
    except OperationalError as error:
        if _is_about_a_lock(error):
            raise LockNotGranted from error
        raise


@contextmanager
def _lock_timeout(seconds: float) -> Iterator[None]:
    """PostgreSQL: for the rest of this transaction; a rollback brings back the old one by itself."""
    connection = connections[saga_database()]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        before = cursor.fetchone()[0]
        setting = "SELECT set_config('lock_timeout', %s, true)"
        cursor.execute(setting, [f"{int(seconds * 1000)}ms"])
        yield
        cursor.execute(setting, [before])


@contextmanager
def _busy_timeout(seconds: float) -> Iterator[None]:
    """SQLite: the one lock there is, which a transaction takes when it begins."""
    connection = connections[saga_database()]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {int(before)}")


def _is_about_a_lock(error: OperationalError) -> bool:
    cause = error.__cause__
    refused = getattr(cause, "sqlstate", None) == "55P03"
    return refused or getattr(cause, "sqlite_errorname", "").startswith("SQLITE_BUSY")
