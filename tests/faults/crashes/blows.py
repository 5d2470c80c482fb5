"""The faults, as they are inflicted from inside the process that they hit."""

import ctypes
import os
import signal
import socket
import time
from contextlib import suppress
from enum import StrEnum

import psycopg
from django.db import connection

from sagas.conf import saga_settings
from sagas.exceptions import UnknownHandler


class Fault(StrEnum):
    """What happens at a boundary."""

    CHILD_KILLED = "child killed"
    WORKER_KILLED = "worker killed"
    EXCEPTION = "exception"
    DATABASE_CUT = "database cut"
    """The server ends the connection that this process uses."""
    BROKER_CUT = "broker cut"
    """All of the worker's connections to the broker are dropped, and new ones refused for a while."""
    CHILD_STOPPED = "child stopped"
    """Its time stands still; it wakes up when its saga has ended without it."""
    WORKER_STOPPED = "worker stopped"
    INTERPRETER_HELD = "interpreter held"
    """No other thread of the process runs, longer than a lease lasts: nothing renews it."""
    HANDLER_GONE = "handler gone"
    """An older worker does not know the step, and the saga is cancelled at the same moment."""


ASLEEP = frozenset({Fault.CHILD_STOPPED, Fault.WORKER_STOPPED})


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
    elif fault == Fault.CHILD_STOPPED:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == Fault.WORKER_STOPPED:
        os.killpg(0, signal.SIGSTOP)
    elif fault == Fault.INTERPRETER_HELD:
        hold_interpreter(2 * saga_settings().LEASE_SECONDS)
    elif fault == Fault.DATABASE_CUT:
        cut_database()
    elif fault == Fault.BROKER_CUT:
        cut_broker()
    elif fault == Fault.HANDLER_GONE:
        raise UnknownHandler("this worker is an older one")
    elif in_handler:
        # What a handler cannot know either: the outside system did not answer.
        raise ConnectionError("injected")
    else:
        raise Injected


def wake(pid: int, fault: Fault) -> None:
    """Let a stopped process go on; said to one that runs, it does nothing."""
    with suppress(ProcessLookupError):
        if fault == Fault.WORKER_STOPPED:
            os.killpg(os.getpgid(pid), signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGCONT)


def hold_interpreter(seconds: float) -> None:
    """Sleep in C without letting go of the interpreter, as an extension that computes does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


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
    with socket.create_connection(("127.0.0.1", port), timeout=60) as switch:
        switch.sendall(b"cut\n")
        assert switch.recv(16) == b"done\n"
