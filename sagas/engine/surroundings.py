"""What a handler finds in its process is what the next one finds: connections, time zone, language.

A worker's process and its connections outlive the handler. A transaction that it leaves open would
take in the outcome, which then is never committed, and keep its locks from everybody. Nothing here
asks the database: the driver knows how a connection stands.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.db import connections
from django.utils import timezone, translation

from sagas.engine.database import driver_status, saga_database
from sagas.exceptions import TransactionLeftOpen


logger = logging.getLogger("sagas.execute")
T = TypeVar("T")

_FOR_THE_SESSION = re.compile(
    r"(?:^|;)\s*(?:SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|RESET\b|DISCARD\b|DEALLOCATE\b)"
    r"|\bset_config\s*\([^()]*,\s*false\s*\)",
    re.IGNORECASE,
)
"""Statements that change what later ones mean, such as ``SET search_path``."""

_END = re.compile(r"(?:^|;)\s*(?:COMMIT|END|ABORT|ROLLBACK(?!\s+TO\b))\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """How a connection stands, without asking its server."""

    atomic: bool
    blocks: int
    savepoints: int
    autocommit: bool
    status: str

    @classmethod
    def of(cls, connection: Any) -> "_Standing":
        return cls(
            atomic=connection.in_atomic_block,
            blocks=len(connection.atomic_blocks),
            savepoints=len(connection.savepoint_ids),
            autocommit=connection.autocommit,
            status=driver_status(connection),
        )


def kept(user_code: Callable[[], T], *, of: str) -> T:
    """Call user code, and put back what it changed around itself.

    Raises:
        TransactionLeftOpen: it returned, and left a transaction open, or ended its caller's.
    """
    before = {name: _Standing.of(connections[name]) for name in _open_connections()}
    with _time_zone(), _language(), _watched() as session:
        try:
            result = user_code()
        except BaseException:
            # What it raised says more; what it left is put right all the same.
            for how in _put_right(before, session):
                logger.warning("%s ended with %s", of, how, extra={"action": "left_open"})
            raise
        left = _put_right(before, session)
    if left:
        message = f"{of} returned with {', '.join(left)}; {TransactionLeftOpen()}"
        raise TransactionLeftOpen(message)
    return result


def _open_connections() -> list[str]:
    opened = connections.all(initialized_only=True)
    return [wrapper.alias for wrapper in opened if wrapper.connection is not None]


def _put_right(before: dict[str, _Standing], session: "_Session") -> list[str]:
    """Roll back and close what stands otherwise than before. Returns what it was."""
    found = []
    for name in {*before, *_open_connections()}:
        connection: Any = connections[name]
        then = before.get(name)
        how = _difference(connection, then, _Standing.of(connection))
        if name == session.name and session.ended and then is not None and then.atomic:
            how = "its caller's transaction ended"
        if how:
            found.append(f"{how} on connection {name!r}")
            if then is not None and then.atomic:
                _return_to(connection, then)
            else:
                _close(connection)
    return found


def _difference(connection: Any, then: _Standing | None, now: _Standing) -> str:
    """Say how a connection stands otherwise than ``then``; None: it was opened since."""
    if connection.connection is None and not now.atomic:
        return ""  # closed, and so clean
    usual = connection.settings_dict["AUTOCOMMIT"]
    then = then or _Standing(atomic=False, blocks=0, savepoints=0, autocommit=usual, status="idle")
    entered = (now.atomic, now.blocks, now.savepoints) > (then.atomic, then.blocks, then.savepoints)
    differences = {
        "an atomic() block entered and never left": entered,
        "its caller's transaction ended": (then.atomic and not now.atomic)
        or (then.status, now.status) == ("open", "idle"),
        "autocommit switched": now.autocommit != then.autocommit,
        # Without autocommit the driver begins one at the first statement.
        "a transaction begun and never ended": then.autocommit
        and (then.status, now.status) == ("idle", "open"),
    }
    return next((how for how, differs in differences.items() if differs), "")


def _return_to(connection: Any, then: _Standing) -> None:
    """Leave what was entered within the caller's transaction, which the caller rolls back."""
    connection.in_atomic_block = True
    del connection.savepoint_ids[then.savepoints :]
    del connection.atomic_blocks[then.blocks :]


def _close(connection: Any) -> None:
    with suppress(Exception):
        connection.connection.rollback()
    # Otherwise it would stay, as closed within a transaction, until somebody left that.
    connection.in_atomic_block = connection.closed_in_transaction = False
    with suppress(Exception):
        connection.close()


@contextmanager
def _time_zone() -> Iterator[None]:
    before = timezone.get_current_timezone()
    try:
        yield
    finally:
        if timezone.get_current_timezone() is not before:
            if before == timezone.get_default_timezone():
                timezone.deactivate()
            else:
                timezone.activate(before)


@contextmanager
def _language() -> Iterator[None]:
    before = translation.get_language()
    try:
        yield
    finally:
        if translation.get_language() != before:
            if before == settings.LANGUAGE_CODE:
                translation.deactivate()
            elif before is None:
                translation.deactivate_all()
            else:
                translation.activate(before)


@dataclass
class _Session:
    """What user code said to the sagas' database that outlasts its statement."""

    name: str
    changed: bool = False
    """Something that later statements depend on."""
    ended: bool = False
    """A transaction was ended by a statement of its own."""

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        """Look at a statement before it is run; Django calls this."""
        text = sql if isinstance(sql, str) else ""
        self.changed = self.changed or bool(_FOR_THE_SESSION.search(text))
        self.ended = self.ended or bool(_END.search(text))
        return execute(sql, params, many, context)


@contextmanager
def _watched() -> Iterator[_Session]:
    """End the session on the sagas' database afterwards, if it was changed."""
    session = _Session(saga_database())
    connection: Any = connections[session.name]
    with connection.execute_wrapper(session):
        try:
            yield session
        finally:
            if session.changed and not connection.in_atomic_block:
                with suppress(Exception):
                    connection.close()
