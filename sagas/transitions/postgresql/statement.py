"""A statement of this room, prepared on each connection that runs it."""

import re
from importlib import resources
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sagas.database import saga_database


_prepared: "WeakKeyDictionary[Any, set[str]]" = WeakKeyDictionary()
"""By connection to the server, what it has prepared."""


class Statement:
    """One ``.sql`` file. Its parameters are ``$1``, ``$2``, ...; ``{words}`` are filled in here.

    ``PREPARE`` and ``EXECUTE`` go through Django's own cursor, so that execute wrappers, query logs
    and error classes work as for any other query.
    """

    def __init__(self, name: str, **words: str) -> None:
        """Read the file ``name``."""
        source = resources.files(__package__).joinpath(f"{name}.sql").read_text()
        text = re.sub(r"^\s*--.*\n", "", source, flags=re.MULTILINE)
        self.text = text.format(**words) if words else text
        self.name = f"sagas_{name}"
        count = max(int(number) for number in re.findall(r"\$(\d+)", self.text))
        self._prepare = f"PREPARE {self.name} AS {self.text}"
        self._execute = f"EXECUTE {self.name} ({', '.join(['%s'] * count)})"
        self._inline = re.sub(r"\$(\d+)", r"%(p\1)s", self.text)

    def run(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows. In no transaction, the statement is one of its own."""
        connection = connections[saga_database()]
        with connection.cursor() as cursor:
            if _is_pooled_by_transaction(connection):
                named = {f"p{place}": value for place, value in enumerate(parameters, start=1)}
                cursor.execute(self._inline, named)
            else:
                known = _prepared.setdefault(connection.connection, set())
                if self.name not in known:
                    cursor.execute(self._prepare)
                    known.add(self.name)
                cursor.execute(self._execute, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _is_pooled_by_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the next statement may meet another server process, as behind PgBouncer.

    Django asks for the same flag there, because it uses cursors on the server otherwise.
    """
    return bool(connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))
