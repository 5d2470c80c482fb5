"""A statement of this room, prepared by the driver on connections that lead to one server process."""

import logging
import re
from importlib import resources
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sagas.engine.database import saga_database
from sagas.engine.isolation import statement_alone


logger = logging.getLogger("sagas.postgresql")

POOLED = frozenset({"26000", "42P05"})
"""What was prepared is not there, or is there already: another server process answers each time."""

STALE = frozenset({"0A000"})
"""A migration changed a type under a kept connection, whose plans return the type of before."""

_HINT = (
    "so that nothing is prepared on it from now on; behind a pooler in transaction mode set"
    " DISABLE_SERVER_SIDE_CURSORS = True on the database, as Django needs for .iterator() there"
)

_prepares: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()
"""Whether statements are prepared on a connection; one that is missing has answered none yet."""

_pooled: set[str] = set()
"""Databases that a pooler stands before: the next statement may meet another server process."""


class Statement:
    """One ``.sql`` file. Its parameters are ``$1``, ``$2``, ...; ``{words}`` are filled in here.

    It goes through Django's own cursor, so that execute wrappers, query logs and error classes work
    as for any other query. Its last column is the server process that answered.
    """

    def __init__(self, name: str, **words: str) -> None:
        """Read the file ``name``."""
        source = resources.files(__package__).joinpath(f"{name}.sql").read_text()
        text = re.sub(r"^\s*--.*\n", "", source, flags=re.MULTILINE)
        self.text = text.format(**words) if words else text
        self.asked = re.sub(r"\$(\d+)", r"%(p\1)s", self.text)
        """As Django and what wraps its cursors know statements."""

    def run(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows. In no transaction, the statement is one of its own.

        The first time on a connection it is not prepared: its answer tells whether a pooler stands
        in between.
        """
        connection = connections[saga_database()]
        connection.close_if_health_check_failed()
        connection.ensure_connection()
        known = _prepares.get(connection.connection)
        if known is None and _is_pooled(connection):
            known = _prepares[connection.connection] = False
        named = {f"p{place}": value for place, value in enumerate(parameters, start=1)}
        try:
            with statement_alone(connection.alias):
                rows = self._rows(connection, named, prepares=bool(known))
        except DatabaseError as error:
            if not (known and _is_forgotten(connection, error) and connection.get_autocommit()):
                raise
            # It was refused before anything of it ran.
            rows = self._rows(connection, named, prepares=False)
        if known is None and rows:
            _prepares[connection.connection] = _answers_itself(connection, rows[0][-1])
        return [row[:-1] for row in rows]

    def _rows(
        self, connection: BaseDatabaseWrapper, parameters: dict[str, Any], *, prepares: bool
    ) -> list[tuple[Any, ...]]:
        from sagas.engine.transitions.postgresql.driver import cursor_class  # noqa: PLC0415 needs libpq

        driver = connection.connection
        before = driver.cursor_factory
        driver.cursor_factory = cursor_class(self.asked, self.text, prepares=prepares)
        try:
            cursor = connection.cursor()
        finally:
            driver.cursor_factory = before
        with cursor:
            cursor.execute(self.asked, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def run_once(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that is rare: it is not prepared, and tells no process."""
        named = {f"p{place}": value for place, value in enumerate(parameters, start=1)}
        with connections[saga_database()].cursor() as cursor:
            cursor.execute(self.asked, named)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is known, or said, that the next statement may meet another server process.

    Django asks for the same flag there, because it uses cursors on the server otherwise.
    """
    said = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    return bool(said) or connection.alias in _pooled


def _answers_itself(connection: BaseDatabaseWrapper, process: int) -> bool:
    """Whether the server process that answered is the one that the driver was told of."""
    if process == connection.connection.info.backend_pid:
        return True
    if connection.alias not in _pooled:
        _pooled.add(connection.alias)
        facts = {"action": "pooler_found"}
        logger.info("a pooler stands before %r, %s", connection.alias, _HINT, extra=facts)
    return False


def _is_forgotten(connection: BaseDatabaseWrapper, error: DatabaseError) -> bool:
    """Whether it failed because it is prepared; then this connection prepares nothing more."""
    state = getattr(error.__cause__, "sqlstate", None)
    if state not in POOLED | STALE:
        return False
    _prepares[connection.connection] = False
    if state in POOLED and connection.alias not in _pooled:
        _pooled.add(connection.alias)
        facts = {"action": "statement_forgotten"}
        logger.warning("%r lost a statement (%s), %s", connection.alias, state, _HINT, extra=facts)
    return True
