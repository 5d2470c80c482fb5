"""A private Redis."""

from itertools import count

import redis as client

from benchmarks.plant.servers.process import ServerProcess, binary, free_port, new_folder


URL_VARIABLE = "SAGAS_TEST_REDIS_URL"
DATABASES = 4096
_numbers = count()


def start_redis() -> ServerProcess:
    """Start an empty server with a database for every test.

    Raises:
        Unavailable: Redis is not installed.
    """
    program = binary("redis-server", package="redis-server")
    port = free_port()
    folder = new_folder("redis")
    server = ServerProcess(
        name="Redis",
        url=f"redis://127.0.0.1:{port}",
        folder=folder,
        # Appended to a file, so that a test may kill the server and find its messages again.
        command=[
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--databases",
            str(DATABASES),
            "--save",
            "",
            "--appendonly",
            "yes",
        ],
        answers=lambda: _answers(port),
    )
    server.start()
    return server


def unused_database(url: str) -> str:
    """Return the URL of a database that no test has used."""
    return f"{url}/{next(_numbers)}"


def _answers(port: int) -> bool:
    connection = client.Redis(port=port, socket_timeout=1)
    try:
        return bool(connection.ping())
    except (client.ConnectionError, client.TimeoutError):
        return False
    finally:
        connection.close()
