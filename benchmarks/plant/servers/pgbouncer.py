"""A private PgBouncer before a PostgreSQL, which pools by transaction."""

import os
from urllib.parse import urlsplit, urlunsplit

import psycopg

from benchmarks.plant.servers.process import ServerProcess, binary, free_port, new_folder


POOL = 10
"""Server connections that all clients share."""

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
logfile = {folder}/pgbouncer.log
"""


def start_pgbouncer(postgres_url: str, *, pool: int = POOL) -> ServerProcess:
    """Start a pooler; its ``url`` leads to the same database as the one that is given.

    Raises:
        Unavailable: PgBouncer is not installed.
    """
    program = binary("pgbouncer", package="pgbouncer")
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    parts = urlsplit(postgres_url)
    port = free_port()
    folder = new_folder("pgbouncer", user)
    (folder / "pgbouncer.ini").write_text(
        CONFIGURATION.format(
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            own_port=port,
            pool=pool,
            folder=folder,
        )
    )
    url = urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
    server = ServerProcess(
        name="PgBouncer",
        url=url,
        folder=folder,
        command=[program, "--quiet", "pgbouncer.ini"],
        answers=lambda: _answers(url),
        user=user,
    )
    server.start()
    return server


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
