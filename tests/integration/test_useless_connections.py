"""Connections that live and are of no use, and errors that last: healed, waited out, or backed off from (B3)."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection

from sagas import Saga, start_saga, step
from sagas.engine import execute
from sagas.engine.recover import suspect, sweep
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.driving import drive, fresh, run_one, step_of


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

CALLS: list[str] = []
DO: dict[str, Callable[[], Any]] = {}


class Kept(Saga[str]):
    """first → second, each undoable."""

    class Meta:
        label = "tests.KeptConnection"
        step_defaults = {"max_retries": 0}

    @step
    def first(self) -> str:
        return act("first")

    @first.compensation
    def undo_first(self, _: str | None) -> None:
        CALLS.append("undo_first")

    @step
    def second(self) -> str:
        return act("second")

    @second.compensation
    def undo_second(self, _: str | None) -> None:
        CALLS.append("undo_second")


def act(name: str) -> str:
    CALLS.append(name)
    DO.get(name, lambda: None)()
    return name


@pytest.fixture(autouse=True)
def _quickly(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(execute, "RECONNECT_DELAYS", (0.05, 0.05))
    monkeypatch.setattr(execute, "OUTCOME_RECONNECT_DELAYS", (0.05,) * 100)
    CALLS.clear()
    DO.clear()
    yield
    connection.close()


def start(key: str = "k") -> SagaRun:
    return start_saga(Kept, "x", key=key)


def behind(statement: str) -> None:
    """Change the kept session so that nothing of ours sees it."""
    connection.ensure_connection()
    connection.connection.execute(statement)


def elsewhere(*statements: str) -> None:
    """Run statements in a session of their own."""
    with psycopg.connect(**address(), autocommit=True) as other:
        for statement in statements:
            other.execute(statement)


def address(**further: Any) -> dict[str, Any]:
    values = connection.settings_dict
    return {
        "host": values["HOST"],
        "port": values["PORT"],
        "user": values["USER"],
        "password": values["PASSWORD"] or None,
        "dbname": values["NAME"],
        **further,
    }


SPOILT = [
    pytest.param("SET default_transaction_read_only = on", id="a demoted primary"),
    pytest.param("DEALLOCATE ALL", id="forgotten statements"),
    pytest.param("SET search_path TO nowhere", id="another search path"),
    pytest.param("BEGIN; SELECT 1", id="an open transaction"),
    pytest.param("SET ROLE pg_monitor", id="another role"),
]


class TestASessionThatIsOfNoUse:
    @pytest.mark.parametrize("statement", SPOILT)
    def test_lets_a_claim_go_on_with_another(self, statement: str) -> None:
        drive(start("warm"))
        run = start()
        row = step_of(run, "first")
        behind(statement)
        assert execute.execute(row.pk, row.fence) == "succeeded"
        assert step_of(run, "first").state == StepState.SUCCEEDED
        assert committed(run, "first") == StepState.SUCCEEDED
        assert drive(run).state == SagaState.COMPLETED

    @pytest.mark.parametrize("statement", SPOILT)
    def test_lets_an_outcome_go_on_with_another(self, statement: str) -> None:
        drive(start("warm"))
        CALLS.clear()
        run = start()
        DO["first"] = lambda: behind(statement)
        drive(run)
        if "BEGIN" in statement:  # the handler's own fault, and told as such
            assert fresh(run).state == SagaState.COMPENSATED
            assert CALLS == ["first", "undo_first"]
        else:
            assert fresh(run).state == SagaState.COMPLETED
            assert CALLS == ["first", "second"]

    def test_because_a_migration_changed_a_type_is_replaced(self) -> None:
        drive(start("warm"))
        run = start()
        alter = "ALTER TABLE sagas_steprun ALTER COLUMN handler TYPE varchar({})"
        elsewhere(alter.format(120))
        try:
            assert drive(run).state == SagaState.COMPLETED
        finally:
            elsewhere(alter.format(100))
        assert CALLS[2:] == ["first", "second"]


def committed(run: SagaRun, name: str) -> str:
    with psycopg.connect(**address()) as other:
        query = "SELECT state FROM sagas_steprun WHERE run_id = %s AND name = %s"
        found = other.execute(query, (run.pk, name)).fetchone()
    assert found is not None
    return str(found[0])


@contextmanager
def a_column_is_away() -> Iterator[None]:
    """As while a migration runs, or before it did."""
    rename = "ALTER TABLE sagas_steprun RENAME COLUMN {} TO {}"
    elsewhere(rename.format("ended_at", "gone"))
    try:
        yield
    finally:
        elsewhere(rename.format("gone", "ended_at"))


class TestAnErrorThatLasts:
    def test_is_told_in_a_line_by_a_claim_that_is_not_sent_again_at_once(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sagas.logs import Outage  # noqa: PLC0415

        outage = Outage(execute.logger, "claiming steps", "claim")
        monkeypatch.setattr(execute, "_outage", outage)
        run = start()
        row = step_of(run, "first")
        with a_column_is_away(), caplog.at_level(logging.INFO):
            for _ in range(5):
                assert execute.execute(row.pk, row.fence) == "not claimed"
        told = [r for r in caplog.records if getattr(r, "action", "") == "claim_failed"]
        assert len(told) == 1
        assert told[0].exc_info is None
        assert drive(run).state == SagaState.COMPLETED

    def test_is_waited_for_by_an_outcome(self) -> None:
        run = start()
        away = threading.Event()

        def hide() -> None:
            with a_column_is_away():
                away.set()
                time.sleep(0.7)

        with ThreadPoolExecutor(1) as pool:

            def act() -> None:
                DO["hidden"] = pool.submit(hide).result
                assert away.wait(10)

            DO["first"] = act
            run_one(run)
            DO["hidden"]()
        assert step_of(run, "first").state == StepState.SUCCEEDED
        assert CALLS == ["first"]


class TestAFullDatabase:
    """As many sessions as the server lets this role have are in use."""

    @pytest.fixture(autouse=True)
    def _role(self) -> Iterator[None]:
        role = "sagas_of_few_sessions"
        elsewhere(
            f"DROP ROLE IF EXISTS {role}",
            f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        )
        before = connection.settings_dict["USER"]
        yield
        connection.settings_dict["USER"] = before
        connection.close()
        elsewhere(f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    def test_makes_an_outcome_wait_for_a_session(self) -> None:
        run = start()
        others: list[Any] = []

        def act() -> None:
            connection.close()
            connection.settings_dict["USER"] = "sagas_of_few_sessions"
            others.append(psycopg.connect(**address()))
            threading.Timer(0.7, others[0].close).start()

        DO["first"] = act
        run_one(run)
        assert step_of(run, "first").state == StepState.SUCCEEDED
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["first", "second"]


def test_the_wall_clock_of_a_worker_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    real = time.time

    def jump() -> None:
        monkeypatch.setattr(time, "time", lambda: real() + 7200)
        sweep()
        row = step_of(run, "first")
        assert (row.state, row.attempt) == (StepState.RUNNING, 1)
        monkeypatch.setattr(time, "time", lambda: real() - 7200)
        sweep()

    DO["first"] = jump
    assert drive(run).state == SagaState.COMPLETED
    assert StepRun.objects.filter(run=run, attempt=1).count() == 2
    assert not suspect(step_of(run, "first").pk, 1)
