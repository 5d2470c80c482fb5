"""A private PostgreSQL."""

import os
import pwd
import re
import signal
import subprocess
from pathlib import Path

import psycopg

from benchmarks.plant.servers.process import ServerProcess, as_user, binary, new_folder


URL_VARIABLE = "SAGAS_TEST_POSTGRES_URL"

# The data is thrown away, so nothing has to reach the disk.
OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
}


def find() -> str:
    """Return the path of ``initdb``.

    Raises:
        Unavailable: PostgreSQL is not installed.
    """
    return binary("initdb", *_folders(), package="postgresql")


def url(port: int, database: str = "postgres") -> str:
    """Return the address of the private server that listens on this port."""
    return f"postgresql://postgres@127.0.0.1:{port}/{database}"


def start_postgres(port: int, **further: str) -> ServerProcess:
    """Start a server with an empty cluster; ``further`` are options of the server.

    Raises:
        Unavailable: PostgreSQL is not installed.
    """
    initdb = find()
    user = _unprivileged_user()
    folder = new_folder("postgres", user)
    subprocess.run(
        [
            initdb,
            "--pgdata=data",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        **as_user(user),
    )
    options = OPTIONS | {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        **further,
    }
    server = ServerProcess(
        name="PostgreSQL",
        url=url(port),
        folder=folder,
        command=[
            str(Path(initdb).with_name("postgres")),
            "-D",
            "data",
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        answers=lambda: _answers(port),
        user=user,
        # Fast shutdown: the default of SIGTERM waits for every client to leave.
        stop_signal=signal.SIGINT,
    )
    server.start()
    return server


def _answers(port: int) -> bool:
    try:
        psycopg.connect(url(port), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _folders() -> list[str]:
    """Debian keeps the server's programs off the PATH; the newest version comes first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(path) for path in sorted(found, key=_version, reverse=True)]


def _version(path: Path) -> int:
    match = re.search(r"\d+", path.parent.name)
    return int(match.group()) if match else 0


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
