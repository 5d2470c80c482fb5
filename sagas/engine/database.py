"""Which database holds the rows, how long to wait for its locks, and how long to keep them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
    router,
)
from django.db.models import DateTimeField, Func, QuerySet, TextField, Value

from sagas.conf import saga_settings
from sagas.engine.isolation import read_committed
from sagas.models import SagaRun


logger = logging.getLogger("sagas.database")

_MAY_IDLE = "idle_in_transaction_session_timeout"

LOST = frozenset({"25006", "25P03", "25P04"})
"""The server that this connection leads to is no longer the primary; or it ended the session, whose
transaction was idle, or lasted, for longer than it lets one."""

OUTCOME_SECONDS = 300.0
"""How long an outcome waits for a database that does not record it."""


class ClockNow(Func):
    """The moment at which a row is written, after any wait for it; ``Now()`` is that of the statement."""

    template = "CURRENT_TIMESTAMP"
    output_field = DateTimeField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """PostgreSQL's own clock, read anew in each row."""
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """As Django writes ``Now()`` there: with milliseconds."""
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW')"
        return self.as_sql(compiler, connection, template=template, **context)


class LockNotGranted(Exception):
    """Somebody else kept a lock for longer than this one was ready to wait."""


def saga_database() -> str:
    """Return the alias that saga rows are written to, as the project's routers say."""
    return router.db_for_write(SagaRun)


def skip_health_check() -> None:
    """Spare the query that asks whether a kept connection lives: the claim, which comes first, tells.

    It is guarded, and tried again on a new connection.
    """
    connection: Any = connections[saga_database()]
    connection.health_check_done = True


def is_connection_lost(error: BaseException) -> bool:
    """Whether the database went away, or gave up this transaction; nothing is wrong with the data."""
    if isinstance(error, InternalError):
        return getattr(error.__cause__, "sqlstate", None) in LOST
    return isinstance(error, OperationalError | InterfaceError)


def is_about_data(error: BaseException) -> bool:
    """Whether the values are what the database does not take: no other connection would."""
    return isinstance(error, DataError | IntegrityError)


def driver_status(connection: Any) -> str:
    """Return ``idle`` or ``open``, as the driver knows whether a transaction is; else ``unknown``."""
    raw = connection.connection
    with suppress(Exception):
        if raw is not None and connection.vendor == "postgresql":
            return {0: "idle", 4: "unknown"}.get(int(raw.info.transaction_status), "open")
        if raw is not None and connection.vendor == "sqlite":
            return "open" if raw.in_transaction else "idle"
    return "unknown"


def has_open_transaction() -> bool:
    """Whether one is open on that connection, begun by Django or by a statement of its own."""
    connection = connections[saga_database()]
    return connection.in_atomic_block or driver_status(connection) == "open"


def is_in_transaction() -> bool:
    """Whether one is open on the connection that the rows are written by."""
    return connections[saga_database()].in_atomic_block


def leave_foreign_transaction() -> None:
    """Close a connection on which somebody began a transaction by a statement and never ended it.

    What were written on it would never be committed. Of Django's own transactions nothing is said.
    """
    connection = connections[saga_database()]
    if connection.in_atomic_block or not connection.autocommit:
        return
    if driver_status(connection) == "open":
        logger.warning("a transaction was left open on %r", connection.alias)
        connection.close()


def with_idle_timeout(runs: "QuerySet[SagaRun]") -> "QuerySet[SagaRun]":
    """Have the query that will begin a transaction of ours also say how long it may idle: a lease.

    A process that stands still in it keeps the run's lock, and the saga would wait until it wakes.
    So PostgreSQL ends it, and the process finds its connection lost. A transaction that is open
    already is somebody else's, who may idle in it; elsewhere nothing is said.
    """
    if is_in_transaction() or connections[saga_database()].vendor != "postgresql":
        return runs
    bounded = runs.annotate(_may_idle=_set_config(_MAY_IDLE, _lease()))
    wait = _lock_wait.get()
    if wait is None:
        return bounded
    # Evaluated for the row that is found, before its lock is asked for.
    return bounded.annotate(_may_wait=_set_config("lock_timeout", _milliseconds(wait)))


def _set_config(name: str, value: str) -> Func:
    """Set it until the end of the transaction."""
    values = (Value(name), Value(value), Value(value=True))
    return Func(*values, function="set_config", output_field=TextField())


_lock_wait: ContextVar[float | None] = ContextVar("saga_lock_wait", default=None)


@contextmanager
def short_lock_waits(seconds: float) -> Iterator[None]:
    """On PostgreSQL, let no transaction of ours that begins in here wait longer than this for a lock.

    Raises:
        LockNotGranted: one would have had to. It changed nothing.
    """
    token = _lock_wait.set(seconds)
    try:
        yield
    except OperationalError as error:
        if _is_about_a_lock(error):
            raise LockNotGranted from error
        raise
    finally:
        _lock_wait.reset(token)


@contextmanager
def transaction_with_lock_timeout(seconds: float) -> Iterator[None]:
    """Open a transaction in which no statement waits longer than this for another one's lock.

    On PostgreSQL and SQLite; elsewhere a statement waits as long as the database lets it.

    Raises:
        LockNotGranted: it would have had to. Nothing was changed.
    """
    is_ours = not is_in_transaction()
    try:
        begin = read_committed(saga_database())
        with _busy_timeout(seconds), begin, _limits(seconds, is_ours=is_ours):
            yield
    except OperationalError as error:
        if _is_about_a_lock(error):
            raise LockNotGranted from error
        raise


@contextmanager
def _limits(seconds: float, *, is_ours: bool) -> Iterator[None]:
    """PostgreSQL: how long to wait for a lock and, in a transaction of ours, to idle with one.

    In here alone; a rollback brings back what was by itself.
    """
    connection = connections[saga_database()]
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT current_setting('lock_timeout'), current_setting('{_MAY_IDLE}')")
        before = cursor.fetchone()
        limits = f"SELECT set_config('lock_timeout', %s, true), set_config('{_MAY_IDLE}', %s, true)"
        cursor.execute(limits, [_milliseconds(seconds), _lease() if is_ours else before[1]])
        yield
        cursor.execute(limits, before)


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


def _lease() -> str:
    return _milliseconds(saga_settings().LEASE_SECONDS)


def _milliseconds(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


def _is_about_a_lock(error: OperationalError) -> bool:
    cause = error.__cause__
    refused = getattr(cause, "sqlstate", None) == "55P03"
    return refused or getattr(cause, "sqlite_errorname", "").startswith("SQLITE_BUSY")
