"""The sweep inside every worker keeps its connection, and lets no child inherit it (R83)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections

from sagas.engine.recover import sweep_forever
from sagas.models import SweepRecord
from sagas.worker.bootsteps import ForkGate


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

ROUNDS = 4


@contextmanager
def lasting(seconds: int | None) -> Iterator[None]:
    """Let every connection live so long."""
    before = connection.settings_dict["CONN_MAX_AGE"]
    connection.settings_dict["CONN_MAX_AGE"] = seconds
    try:
        yield
    finally:
        connection.settings_dict["CONN_MAX_AGE"] = before


def servers_met(gate: Any = None, between: Callable[[], None] = lambda: None) -> list[int]:
    """Sweep a few times in a thread; return which server process each round talked to."""
    found: list[int] = []
    stop = threading.Event()

    def note() -> None:
        if found:
            between()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            found.append(cursor.fetchone()[0])
        if len(found) == ROUNDS:
            stop.set()

    thread = threading.Thread(
        target=sweep_forever, args=(0.01, stop), kwargs={"gate": gate, "first": note}
    )
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return found


def test_all_rounds_of_a_sweeper_use_one_connection() -> None:
    with lasting(600):
        assert len(set(servers_met())) == 1
    assert SweepRecord.objects.exists()


def test_each_round_has_its_own_connection_where_connections_are_not_to_last() -> None:
    with lasting(0):
        assert len(set(servers_met())) == ROUNDS


def test_a_sweepers_connection_that_was_cut_is_made_anew() -> None:
    def cut() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (mine,) = cursor.fetchone()
        killer = connections.create_connection("default")
        with killer.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [mine])
        killer.close()

    with lasting(600):
        found: list[bool] = []

        def once() -> None:
            if not found:
                found.append(True)
                cut()

        assert len(set(servers_met(between=once))) == 2


def test_a_fork_finds_the_connection_closed_and_the_next_round_opens_another() -> None:
    gate, raw = ForkGate(), []

    class Watched:
        def __enter__(self) -> None:
            gate.__enter__()

        def __exit__(self, *_: object) -> None:
            raw.append(connection.connection)
            gate.__exit__()
            gate.shut()
            assert raw[-1].closed
            gate._open()

    with lasting(600):
        assert len(set(servers_met(gate=Watched()))) == ROUNDS
    assert len(raw) == ROUNDS
