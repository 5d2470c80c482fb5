"""Which database the suite runs on, said before Django reads its settings.

``SAGAS_TEST_DATABASE=postgresql|sqlite`` chooses; without it PostgreSQL is taken where it can be
had. The server itself is started by the first test that needs a database.
"""

import atexit
import os
import tempfile
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from benchmarks.plant.servers import postgres
from benchmarks.plant.servers.process import ServerProcess, Unavailable, free_port
from benchmarks.plant.watchdog import run_folder


@dataclass
class SuiteDatabase:
    """The database under test: where it is, and whether that was wished for."""

    kind: str
    url: str
    missing: str = ""
    """Why it is SQLite although nobody asked for that."""
    port: int | None = None
    server: ServerProcess | None = None

    def start(self) -> None:
        """Start the private server that the settings already point to."""
        if self.port is not None and self.server is None:
            self.server = postgres.start_postgres(self.port)

    def stop(self) -> None:
        """End the private server."""
        if self.server is not None:
            self.server.remove()


def _choose() -> SuiteDatabase:
    wish = os.environ.get("SAGAS_TEST_DATABASE", "")
    given = os.environ.get(postgres.URL_VARIABLE, "")
    if wish not in {"", "postgresql", "sqlite"}:
        raise ValueError(f"SAGAS_TEST_DATABASE={wish!r}: it must be postgresql or sqlite.")
    if wish == "sqlite":
        return SuiteDatabase("sqlite", "")
    if given:
        return SuiteDatabase("postgresql", urlunsplit(urlsplit(given)._replace(path="/sagas")))
    try:
        postgres.find()
    except Unavailable as missing:
        if wish:
            raise
        return SuiteDatabase("sqlite", "", missing=str(missing))
    port = free_port()
    return SuiteDatabase("postgresql", postgres.url(port, "sagas"), port=port)


suite = _choose()
_owner = os.getpid()


@atexit.register
def _clean_up() -> None:
    if os.getpid() == _owner:
        suite.stop()


os.environ["DATABASE_URL"] = suite.url
# Messages stay in the process that sends them, unless a test brings a broker of its own.
os.environ["SAGAS_BROKER_URL"] = "memory://"
os.environ["SAGAS_DATA_DIR"] = tempfile.mkdtemp(prefix="data-", dir=run_folder())
os.environ["DJANGO_DEBUG"] = "1"
