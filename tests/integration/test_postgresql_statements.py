"""The one-statement transitions leave the rows and events that the portable ones leave (§4).

Every scenario runs twice on PostgreSQL, once by each, and all that was written is compared.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import psycopg
import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.models.functions import Now
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from sagas import start_saga, start_sagas
from sagas.conf import saga_settings
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.transitions import Claimant, claim, postgresql
from sagas.engine.transitions.postgresql import start, statement
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import cancel_saga, pause_saga, resume_saga
from sagas.states import StepState
from tests.chains import Fails, chain
from tests.conftest import database_url
from tests.driving import drive, fresh, ready_steps, step_of
from tests.letter import Letter
from tests.planned import Dispatch, Line, Order
from tests.traced import Diamond, Five, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

PORTABLE = {"POSTGRESQL_STATEMENTS": False}

IDS = {"id", "run_id", "step_id", "successors", "idempotency_key"}
MOMENTS = {
    *("due_at", "send_at", "sent_at", "lease_until", "expires_at", "created_at"),
    *("updated_at", "started_at", "ended_at", "deadline", "failed_at", "completed_at", "at"),
}


@pytest.fixture(autouse=True)
def _no_broker(messages: list[str]) -> None:
    """Messages are collected, not sent."""


def written(key: str) -> list[Any]:
    """Return all that the database has of a run, without ids and with durations for moments."""
    run = SagaRun.objects.get(key=key)
    steps = list(StepRun.objects.filter(run=run))
    names = {str(step.pk): str(step) for step in steps}
    told = SagaEvent.objects.filter(run=run).order_by("id")
    return [
        (plain(run), round((run.deadline - run.created_at).total_seconds())),
        *(
            (plain(s), durations(s), [names[following] for following in s.successors])
            for s in steps
        ),
        *((plain(event), names.get(str(event.step_id))) for event in told),
    ]


def plain(row: Any) -> dict[str, Any]:
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    kept = {name: value for name, value in values.items() if name not in IDS | MOMENTS}
    return kept | {name: values[name] is not None for name in MOMENTS & values.keys()}


def durations(step: StepRun) -> list[Any]:
    """What two moments have between them, in tenths of a second: the clock goes on in a statement."""
    pairs = [("send_at", "due_at")]
    if step.state == StepState.RUNNING:
        pairs.append(("lease_until", "started_at"))
    found = [(getattr(step, later), getattr(step, earlier)) for later, earlier in pairs]
    return [round((b - a).total_seconds(), 1) for b, a in found if a and b]


def go(run: SagaRun, *, in_place: bool, limit: int = 60) -> None:
    """Deliver each message, until nothing is ready."""
    for _ in range(limit):
        waiting = StepRun.objects.filter(run=run, state=StepState.READY, due_at__gt=Now())
        waiting.update(due_at=Now(), send_at=Now())
        ready = ready_steps(run)
        if not ready:
            return
        execute(ready[0].pk, ready[0].fence, task_id="t", worker="w", in_place=in_place)


def both(scenario: Callable[[str], object]) -> None:
    """Run a scenario by each way and compare."""
    scenario("k")
    by_statement = written("k")
    SagaRun.objects.all().delete()
    with override_settings(SAGAS={**saga_settings().__dict__, **PORTABLE}):
        scenario("k")
    assert by_statement == written("k")


FAULTS = ["", "", "", "once-network", "permanent", "unknown", "network"]
HANDLERS: dict[type[Traced], list[str]] = {
    Five: ["a", "b", "c", "d", "e", "undo_a", "undo_c"],
    Diamond: ["start", "left", "right", "join", "pivot", "ship", "tell", "undo_left"],
}


class TestStatementsBesideTheOrm:
    @pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by messages"])
    @pytest.mark.parametrize("saga", [Five, Diamond], ids=["Five", "Diamond"])
    @pytest.mark.parametrize(
        "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 15))]
    )
    def test_both_write_the_same_rows_whatever_fails(
        self, saga: type[Traced], seed: int, *, in_place: bool
    ) -> None:
        random = Random(seed)  # noqa: S311 no secret
        faults = {name: random.choice(FAULTS) for name in HANDLERS[saga]} if seed else {}
        both(lambda key: go(start_saga(saga, Script(faults), key=key), in_place=in_place))

    @pytest.mark.parametrize("done", range(4))
    def test_both_write_the_same_rows_at_every_stage(self, done: int) -> None:
        def scenario(key: str) -> None:
            run = start_saga(Diamond, Script(), key=key)
            for _ in range(done):
                ready = ready_steps(run)[0]
                execute(ready.pk, ready.fence, worker="w")
            claim(ready_steps(run)[0].pk, 0, task_id="t", worker="w")

        both(scenario)

    @pytest.mark.parametrize("fails", ["", "pen", "bill"])
    def test_both_write_the_same_rows_of_a_plan_by_data(self, fails: str) -> None:
        order = Order([Line("book", 2), Line("pen")], gift=True, fails=fails)
        both(lambda key: go(start_saga(Dispatch, order, key=key), in_place=True))

    def test_both_write_the_same_rows_of_a_lost_attempt_and_its_late_success(self) -> None:
        def scenario(key: str) -> None:
            run = start_saga(Five, Script({"b": "once-network"}), key=key)
            go(run, in_place=True)

        both(scenario)

    @pytest.mark.parametrize("act", [pause_saga, cancel_saga], ids=["paused", "cancelled"])
    def test_both_write_the_same_rows_of_a_run_that_is_held_up(self, act: Any) -> None:
        def scenario(key: str) -> None:
            run = start_saga(Diamond, Script(), key=key)
            attempt = claim(step_of(run, "start").pk, 0, task_id="", worker="w")
            assert attempt is not None
            act(run, actor="ops", reason="look")
            assert claim(step_of(run, "start").pk, 0, task_id="", worker="w") is None
            if act is pause_saga:
                resume_saga(run, actor="ops", reason="seen")
            record_outcome(attempt, Succeeded(output={"of": "start"}))
            go(run, in_place=True)

        both(scenario)

    def test_both_write_the_same_rows_of_many_starts_at_once(self) -> None:
        inputs = [Script({"b": "permanent"} if n % 2 else {}) for n in range(4)]

        def scenario(key: str) -> None:
            keys = [key, *(f"{key}-{n}" for n in range(1, 4))]
            runs = start_sagas(Five, inputs, keys=keys, tags={"batch": "1"})
            assert [run.created for run in runs] == [True] * 4
            assert [fresh(run).key for run in runs] == keys

        both(scenario)

    @pytest.mark.parametrize("saga", [Five, Diamond], ids=["Five", "Diamond"])
    @pytest.mark.parametrize("portable", [False, True], ids=["by statement", "by the ORM"])
    def test_one_of_many_starts_writes_the_same_rows_as_one_alone(
        self, saga: type[Traced], *, portable: bool
    ) -> None:
        with override_settings(
            SAGAS={**saga_settings().__dict__, **(PORTABLE if portable else {})}
        ):
            start_saga(saga, Script(), key="k", tags={"batch": "1"})
            alone = written("k")
            SagaRun.objects.all().delete()
            start_sagas(saga, [Script()] * 3, keys=["i", "k", "l"], tags={"batch": "1"})
        assert written("k") == alone

    @pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by messages"])
    @pytest.mark.parametrize("faults", [{}, {"note": "permanent"}, {"b": "permanent"}], ids=str)
    def test_both_write_the_same_rows_of_steps_for_which_nobody_waits(
        self, faults: dict[str, str], *, in_place: bool
    ) -> None:
        both(lambda key: go(start_saga(Letter, Script(faults), key=key), in_place=in_place))

    def test_both_write_the_same_rows_of_many_steps_side_by_side(self) -> None:
        with chain(9, parallel=True) as saga:
            both(lambda key: go(start_saga(saga, Fails(4), key=key), in_place=True))


STATEMENTS = {"start": start._START, "claim": postgresql._CLAIM, "succeed": postgresql._SUCCEED}


def prepared_runs() -> dict[str, int]:
    """How often each statement ran, prepared by the driver on this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")
        rows = cursor.fetchall()
    return {
        name: sum(runs for text, runs in rows if text == one.text)
        for name, one in STATEMENTS.items()
    }


NEVER = dict.fromkeys(STATEMENTS, 0)


def forget_what_is_prepared() -> None:
    """As a pooler does that gives the next statement to another server process."""
    with connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")


class TestWhatAStatementReturns:
    """Each value in its own column, whatever order the model declares them in."""

    def test_of_a_claim_is_what_the_rows_have(self) -> None:
        run = start_saga(Five, Script({"a": "x"}), key="k", tags={"t": "v"})
        row = step_of(run, "a")
        attempt = claim(row.pk, row.fence, task_id="t", worker="w")
        assert attempt is not None
        same_as_stored(attempt)
        same_as_stored(attempt.run)

    def test_of_a_success_is_what_the_next_step_has(self) -> None:
        run = start_saga(Five, Script(), key="k")
        row = step_of(run, "a")
        attempt = claim(row.pk, row.fence, task_id="t", worker="w")
        assert attempt is not None
        taken = record_outcome(
            attempt, Succeeded(output=1), Claimant(task_id="t", worker="w")
        ).taken
        assert taken is not None
        same_as_stored(taken)


def same_as_stored(row: StepRun | SagaRun) -> None:
    stored = type(row).objects.get(pk=row.pk)
    names = {field.attname for field in row._meta.concrete_fields} - row.get_deferred_fields()
    assert "id" in names
    assert {name: getattr(row, name) for name in names} == {n: getattr(stored, n) for n in names}


class TestPreparedStatements:
    @pytest.fixture(autouse=True)
    def _new_connection(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(statement, "_pooled", set())
        connection.close()
        yield
        connection.close()

    def test_are_prepared_as_soon_as_the_connection_is_known_to_lead_to_one_server(self) -> None:
        for number in range(3):
            drive(start_saga(Five, Script(), key=str(number)))
        assert prepared_runs() == {"start": 2, "claim": 15, "succeed": 15}

    def test_are_prepared_in_a_transaction_of_somebody_else_as_well(self) -> None:
        with transaction.atomic():
            for number in range(3):
                start_saga(Five, Script(), key=str(number))
        assert prepared_runs() == {"start": 2, "claim": 0, "succeed": 0}

    def test_are_not_prepared_where_the_settings_tell_of_a_pooler(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
        assert drive(start_saga(Five, Script(), key="k")).is_completed
        assert prepared_runs() == NEVER

    def test_leave_django_to_prepare_as_little_as_before(self) -> None:
        drive(start_saga(Five, Script(), key="k"))
        for _ in range(10):
            SagaRun.objects.count()
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'COUNT'")
            assert cursor.fetchone() == (0,)
        assert connection.connection.prepare_threshold is None

    @pytest.mark.parametrize("bound", [False, True], ids=["by the client", "by the server"])
    def test_are_shown_in_the_query_log_with_their_values(
        self, monkeypatch: pytest.MonkeyPatch, *, bound: bool
    ) -> None:
        if bound:
            monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", bound)
            monkeypatch.setattr(connection.features, "uses_server_side_binding", bound)
        start_saga(Five, Script(), key="before")
        with CaptureQueriesContext(connection) as queries:
            run = start_saga(Five, Script(), key="k")
            step = step_of(run, "a")
            claim(step.pk, 0, task_id="t-1", worker="w-1")
        texts = [query["sql"] for query in queries if query["sql"].startswith("WITH")]
        assert len(texts) == 2
        assert str(run.pk) in texts[0]
        for value in (step.pk.hex, "t-1", "w-1"):
            assert f"'{value}'" in texts[1]

    def test_may_be_commented_on_by_what_wraps_an_execution(self) -> None:
        seen = []

        def comment(execute: Any, sql: str, *further: Any) -> Any:
            seen.append(sql)
            return execute(f"{sql} /* trace {len(seen)} */", *further)

        with connection.execute_wrapper(comment):
            assert drive(start_saga(Five, Script(), key="k")).is_completed
        assert {one.asked for one in STATEMENTS.values()} <= set(seen)
        assert prepared_runs() == NEVER  # each with another comment would fill the server

    def test_work_with_bindings_on_the_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
        both(lambda key: go(start_saga(Five, Script({"d": "permanent"}), key=key), in_place=True))
        assert prepared_runs()["succeed"] > 0

    def test_heal_at_once_when_the_server_forgot_them_and_it_is_told_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        drive(start_saga(Five, Script(), key="before"))
        forget_what_is_prepared()
        for number in range(2):
            assert drive(start_saga(Five, Script(), key=str(number))).is_completed
        told = [record for record in caplog.records if record.name == "sagas.postgresql"]
        assert [vars(record)["action"] for record in told] == ["statement_forgotten"]
        assert "DISABLE_SERVER_SIDE_CURSORS = True" in told[0].getMessage()
        connection.close()
        drive(start_saga(Five, Script(), key="later"))
        assert prepared_runs() == NEVER

    def test_fail_once_in_somebody_elses_transaction_when_the_server_forgot_them(self) -> None:
        for key in ("before", "prepared"):
            drive(start_saga(Five, Script(), key=key))
        forget_what_is_prepared()
        with pytest.raises(ProgrammingError, match="does not exist"), transaction.atomic():
            start_saga(Five, Script(), key="k")
        with transaction.atomic():
            run = start_saga(Five, Script(), key="k")
        assert drive(run).is_completed

    def test_survive_a_column_that_a_migration_changes_under_a_kept_connection(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        drive(start_saga(Five, Script(), key="before"))
        change = "ALTER TABLE sagas_steprun ALTER COLUMN error_code TYPE varchar({})"
        with psycopg.connect(database_url(), autocommit=True) as other:
            other.execute(change.format(200))
            try:
                assert drive(start_saga(Five, Script(), key="k")).is_completed
            finally:
                other.execute(change.format(100))
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        connection.close()
        for number in range(2):
            drive(start_saga(Five, Script(), key=str(number)))
        assert prepared_runs()["claim"]
