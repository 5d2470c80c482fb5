"""Our own transactions are READ COMMITTED, whatever level a project gives its connections.

The run's lock says who decides; what is decided from must be read after the lock was granted. At a
higher level a transaction goes on to read what was there when it began, and a lock alone is no
conflict: two steps that end at once would each see the other still in flight, for ever.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar, cast

from django.db import connections, transaction
from django.db.models import Func, Model, QuerySet, TextField, Value


RunT = TypeVar("RunT", bound=Model)

READ_COMMITTED = "read committed"

_server_defaults: dict[str, str] = {}
"""By the connection's address: what the server gives a transaction that says nothing."""


@contextmanager
def read_committed(alias: str, *, savepoint: bool = True) -> Iterator[None]:
    """Open a transaction in which each statement sees what was committed before it.

    Inside another one it is a savepoint, and the level is the other's. Costs no statement where the
    level is READ COMMITTED anyhow, as it is by default.
    """
    connection = connections[alias]
    is_ours = not connection.in_atomic_block
    with transaction.atomic(using=alias, savepoint=savepoint):
        if is_ours and _is_higher(connection):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


def statement_alone(alias: str) -> AbstractContextManager[None]:
    """Let a statement that may be a transaction of its own be READ COMMITTED too."""
    connection = connections[alias]
    if connection.in_atomic_block or not _is_higher(connection):
        return nullcontext()
    return read_committed(alias)


def with_level(runs: "QuerySet[RunT]", alias: str) -> "QuerySet[RunT]":
    """Have the query that locks a run in a transaction of somebody else also tell its level."""
    connection = connections[alias]
    if not connection.in_atomic_block or connection.vendor != "postgresql":
        return runs
    level = Func(
        Value("transaction_isolation"), function="current_setting", output_field=TextField()
    )
    annotated: Any = runs.annotate(_level=level)  # whose type is that of rows with one more column
    return cast("QuerySet[RunT]", annotated)


def is_above_read_committed(run: object) -> bool:
    """Whether the transaction that :func:`with_level` asked may read what is no longer true."""
    return getattr(run, "_level", READ_COMMITTED) not in {READ_COMMITTED, "read uncommitted"}


def _is_higher(connection: Any) -> bool:
    if connection.vendor != "postgresql":
        return False
    level = connection.settings_dict["OPTIONS"].get("isolation_level")
    if level is not None:
        return int(level) != _READ_COMMITTED_IN_DRIVER
    return _server_default(connection) != READ_COMMITTED


_READ_COMMITTED_IN_DRIVER = 2
"""``psycopg.IsolationLevel.READ_COMMITTED``."""


def _server_default(connection: Any) -> str:
    """Ask once in this process: it is set by a role, a database or an option of the connection."""
    settings = connection.settings_dict
    address = repr([settings.get(name) for name in ("HOST", "PORT", "NAME", "USER", "OPTIONS")])
    if address not in _server_defaults:
        connection.ensure_connection()
        # Not through Django's cursor: this is nobody's query.
        with connection.wrap_database_errors, connection.connection.cursor() as cursor:
            cursor.execute("SHOW default_transaction_isolation")
            ((level, *_),) = cursor.fetchall()
        _server_defaults[address] = level
    return _server_defaults[address]
