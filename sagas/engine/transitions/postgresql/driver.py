"""psycopg's part, imported only where a database is PostgreSQL: it needs libpq, which SQLite does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from psycopg import ClientCursor, Connection, RawCursor


@dataclass(frozen=True, slots=True)
class Executed:
    """What Django's query log reads, composed when it is read."""

    connection: Connection[Any]
    text: str
    parameters: Mapping[str, Any]

    @property
    def query(self) -> bytes:
        """The statement with its values."""
        return ClientCursor(self.connection).mogrify(self.text, self.parameters).encode()


class StatementCursor(RawCursor[Any]):
    """Runs one statement, which Django asks for with ``%(p1)s``, with values bound by the server.

    What a wrapper made of it, such as one with a comment that is new each time, is composed here.
    """

    asked: str
    text: str
    """The same with ``$1``, as the server reads it; so nothing of it is parsed anew."""
    prepares: bool

    def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
        """Run it. Django has the driver prepare nothing, so that is said for this time."""
        connection = self.connection
        if query != self.asked:
            return super().execute(ClientCursor(connection).mogrify(query, params), prepare=False)
        before, connection.prepare_threshold = connection.prepare_threshold, 0
        try:
            super().execute(self.text, tuple(params.values()), prepare=self.prepares)
        finally:
            connection.prepare_threshold = before
        self._query = Executed(connection, query, params)  # type: ignore[assignment]
        return self


@cache
def cursor_class(asked: str, text: str, *, prepares: bool) -> type[StatementCursor]:
    """Return the factory of cursors that run this statement."""
    return type("", (StatementCursor,), {"asked": asked, "text": text, "prepares": prepares})
