"""The faults, as they are inflicted from inside the process that they hit."""

import os
import signal
import socket
import time
from enum import StrEnum

import psycopg
from django.db import connection


class Fault(StrEnum):
    """What happens at a boundary."""

    CHILD_KILLED = "child killed"
    WORKER_KILLED = "worker killed"
    EXCEPTION = "exception"
    DATABASE_CUT = "database cut"
    """The server ends the connection that this process uses."""
    BROKER_CUT = "broker cut"
    """All of the worker's connections to the broker are dropped, and new ones refused for a while."""


BROKER_SWITCH = "SAGAS_TEST_BROKER_SWITCH"
"""The variable that tells a worker where its broker connections are cut."""


class Injected(Exception):
    """An error that nobody foresees."""


def strike(fault: Fault, *, in_handler: bool) -> None:
    """Inflict the fault on this process."""
    if fault == Fault.CHILD_KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == Fault.WORKER_KILLED:
        os.killpg(0, signal.SIGKILL)
    elif fault == Fault.DATABASE_CUT:
        cut_database()
    elif fault == Fault.BROKER_CUT:
        cut_broker()
    elif in_handler:
        # What a handler cannot know either: the outside system did not answer.
        raise ConnectionError("injected")
    else:
        raise Injected


def cut_database() -> None:
    """Let the server end this connection, as an administrator or a failover does."""
    connection.ensure_connection()
    assert connection.connection is not None
    victim = connection.connection.info.backend_pid
    with psycopg.connect(_admin_url(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [victim])
        alive = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        while admin.execute(alive, [victim]).fetchone():
            time.sleep(0.01)


def _admin_url() -> str:
    values = connection.settings_dict
    return psycopg.conninfo.make_conninfo(
        host=values["HOST"],
        port=values["PORT"],
        user=values["USER"],
        password=values["PASSWORD"] or None,
        dbname=values["NAME"],
    )


def cut_broker() -> None:
    """Return when the connections are cut; see :mod:`tests.faults.proxy`."""
    port = int(os.environ[BROKER_SWITCH])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as switch:
        switch.sendall(b"cut\n")
        assert switch.recv(16) == b"done\n"
