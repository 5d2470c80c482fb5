"""Whose a connection is while a handler waits.

With Django's connection pool (``OPTIONS["pool"]``) many threads or greenlets share a few connections,
so whoever asks nothing for a while gives its own back. Otherwise a thread keeps the one that it has:
opening another one costs more than a whole step.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import close_old_connections, connections

from sagas.engine.database import saga_database


def is_pooled() -> bool:
    """Whether the sagas' database is reached through Django's pool."""
    return bool(_options(connections[saga_database()]).get("pool"))


def give_back() -> None:
    """Let others of this process have the connection, where they share one pool."""
    connection = connections[saga_database()]
    if is_pooled() and not connection.in_atomic_block:
        connection.close()


@contextmanager
def borrowed() -> Iterator[None]:
    """Ask something in the middle of a handler, which then goes on without a connection, as it was."""
    was_open = connections[saga_database()].connection is not None
    try:
        yield
    finally:
        if not was_open:
            give_back()


@contextmanager
def of_a_task() -> Iterator[None]:
    """Begin and end a Celery task with no connection that is old, and leave none that nobody will use."""
    close_old_connections()
    try:
        yield
    finally:
        if _is_greenlet():
            # The next task is another greenlet, which would open one of its own beside it.
            connections.close_all()
        else:
            give_back()


def replace_lost() -> None:
    """Close the connection; of those that wait in Django's pool, the ones that are lost as well."""
    connection: Any = connections[saga_database()]
    connection.close()
    if is_pooled() and connection.pool is not None:
        connection.pool.check()


def _options(connection: Any) -> dict[str, Any]:
    return connection.settings_dict.get("OPTIONS") or {}


def _is_greenlet() -> bool:
    """Whether threads are greenlets here: a worker with ``-P gevent`` patches them."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")
