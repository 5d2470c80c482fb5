"""What a step costs, to the statement, and that it depends on nothing else (R26, R124).

Counted are the statements of ``CaptureQueriesContext``, with ``BEGIN`` and ``COMMIT`` apart.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from psycopg import ClientCursor

from sagas import start_saga, start_sagas
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.execute import execute
from sagas.engine.transitions import claim
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import SagaState
from tests.chains import Fails, chain
from tests.driving import claimed, drive, expire_lease, ready_steps, run_one, step_of
from tests.factories import make_run, make_step


pytestmark = pytest.mark.django_db(transaction=True)

FINISHED = 2_000


@dataclass
class Cost:
    """What a block did."""

    statements: int = 0
    commits: int = 0
    messages: int = 0


@contextmanager
def cost_of(messages: list[str], queries: list[str] | None = None) -> Iterator[Cost]:
    """Count what the block does; ``queries`` collects its statements."""
    cost = Cost()
    sent = len(messages)
    parameters: list[Any] = []
    with (
        CaptureQueriesContext(connection) as captured,
        connection.execute_wrapper(told(parameters)),
    ):
        yield cost
    texts = [query["sql"] for query in captured]
    statements = [text for text in texts if not re.match(r"BEGIN|COMMIT|ROLLBACK", text)]
    cost.statements = len(statements)
    cost.commits = texts.count("COMMIT") + alone(texts)
    cost.messages = len(messages) - sent
    if queries is not None:
        queries += executable(statements, parameters)


def told(parameters: list[Any]) -> Callable[..., Any]:
    """Collect the parameters of the statements that the server binds."""

    def collect(execute: Callable[..., Any], sql: str, params: Any, *further: Any) -> Any:
        if "%(p1)s" in sql:
            parameters.append((sql, params))
        return execute(sql, params, *further)

    return collect


def executable(statements: list[str], parameters: list[Any]) -> list[str]:
    """Return statements that can be explained; one that the server binds as a prepared one."""
    following, found = iter(parameters), []
    for text in statements:
        if text.startswith("WITH"):
            sql, values = next(following)
            found.append(prepared(re.sub(r"%\(p(\d+)\)s", r"$\1", sql), list(values.values())))
        else:
            found.append(text)
    return found


def prepared(text: str, values: list[Any]) -> str:
    """Prepare a statement for this connection; return how it is executed."""
    name = f"explained_{zlib.crc32(text.encode())}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = %s", [name])
        if cursor.fetchone() is None:
            cursor.execute(f"PREPARE {name} AS {text}")
    places = ", ".join(["%s"] * len(values))
    return ClientCursor(connection.connection).mogrify(f"EXECUTE {name} ({places})", values)


def alone(texts: list[str]) -> int:
    """Count the statements that are a transaction each."""
    within, found = False, 0
    for text in texts:
        if re.match(r"BEGIN|COMMIT|ROLLBACK", text):
            within = text.startswith("BEGIN")
        elif not within and not text.startswith("SELECT"):
            found += 1
    return found


def cost(statements: int, commits: int, messages: int, *, portable: int | None = None) -> Cost:
    """Return what is expected: ``portable`` is the number of statements where there is no PostgreSQL."""
    if portable is not None and connection.vendor != "postgresql":
        statements = portable
    return Cost(statements=statements, commits=commits, messages=messages)


def started(saga: Any, *, fails_at: int = -1, done: int = 0) -> SagaRun:
    run = start_saga(saga, Fails(fails_at), key="k")
    for _ in range(done):
        run_one(run)
    return run


def fill_history() -> None:
    """Two thousand finished runs, each with a step and two events."""
    model = make_run(SagaState.COMPLETED, "old-0")
    make_step(model, "only")
    for type_ in ("started", "completed"):
        SagaEvent.objects.create(run=model, type=type_)
    copies(SagaRun, id="ids.run", key="'old-' || ids.number")
    copies(StepRun, id="ids.step", run_id="ids.run")
    copies(SagaEvent, id="", run_id="ids.run")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def copies(table: type[Model], **new: str) -> None:
    """Copy the rows of a table ``FINISHED`` times, with new values; ``""`` is the database's default."""
    columns = [field.column or field.name for field in table._meta.concrete_fields]
    kept = [column for column in columns if new.get(column) != ""]
    values = ", ".join(new.get(column, f"old.{column}") for column in kept)
    statement = f"""
        WITH RECURSIVE counting (number) AS (
            SELECT 1 UNION ALL SELECT number + 1 FROM counting WHERE number < {FINISHED}
        ),
        ids (number, run, step) AS (SELECT number, {made_id(1)}, {made_id(2)} FROM counting)
        INSERT INTO {table._meta.db_table} ({", ".join(kept)})
        SELECT {values} FROM ids CROSS JOIN (SELECT * FROM {table._meta.db_table}) AS old
    """  # noqa: S608 no value comes from outside
    with connection.cursor() as cursor:
        cursor.execute(statement)


def made_id(kind: int) -> str:
    """Return an expression that makes a UUID from ``number``."""
    if connection.vendor == "postgresql":
        return f"('0000000{kind}-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid"
    return f"'0000000{kind}000070008000' || printf('%012x', number)"


@pytest.fixture(
    params=[(5, False), (100, False), (5, True)],
    ids=["5 steps", "100 steps", "5 steps beside 2000 finished runs"],
)
def length(request: pytest.FixtureRequest, transactional_db: None) -> int:
    """Of the saga; beside it there may be history."""
    steps, history = request.param
    if history:
        fill_history()
    return int(steps)


class TestCostOfAStep:
    """Each number is the same for any length and any history; raising one is a decision."""

    def test_statements_of_a_start(self, length: int, messages: list[str]) -> None:
        with chain(length) as saga, cost_of(messages) as spent:
            started(saga)
        if connection.vendor == "sqlite" and length == 100:
            # SQLite takes the rows of a long plan in several statements.
            spent.statements = 4
        assert spent == cost(1, 1, 1, portable=4)

    def test_statements_of_a_claim(self, length: int, messages: list[str]) -> None:
        with chain(length) as saga:
            row = step_of(started(saga, done=1), "step_1")
            with cost_of(messages) as spent:
                assert claim(row.pk, row.fence, task_id="", worker="")
        assert spent == cost(1, 1, 0, portable=3)

    def test_statements_of_an_outcome_with_its_successor(
        self, length: int, messages: list[str]
    ) -> None:
        with chain(length) as saga:
            attempt = claimed(started(saga, done=1), "step_1")
            with cost_of(messages) as spent:
                record_outcome(attempt, Succeeded(output=1))
        assert spent == cost(1, 1, 1, portable=5)

    def test_statements_of_a_whole_step(self, length: int, messages: list[str]) -> None:
        with chain(length) as saga:
            row = ready_steps(started(saga, done=1))[0]
            with cost_of(messages) as spent:
                execute(row.pk, row.fence)
        assert spent == cost(2, 2, 1, portable=8)

    def test_statements_of_a_retry(self, length: int, messages: list[str]) -> None:
        failed = Failed(code="X", error="x", retryable=True)
        with chain(length) as saga:
            attempt = claimed(started(saga, done=1), "step_1")
            attempt.options = {"max_retries": 1}
            with cost_of(messages) as spent:
                record_outcome(attempt, failed)
        assert spent == Cost(statements=3, commits=1, messages=0)

    def test_statements_of_a_doubled_message(self, length: int, messages: list[str]) -> None:
        with chain(length) as saga:
            row = step_of(started(saga, done=1), "step_0")
            with cost_of(messages) as spent:
                assert execute(row.pk, 0) == "not claimed"
        assert spent == Cost(statements=1, commits=1, messages=0)

    def test_statements_of_a_compensation_with_the_next(
        self, length: int, messages: list[str]
    ) -> None:
        with chain(length) as saga:
            run = started(saga, fails_at=3, done=4)
            attempt = claimed(run, "step_2", "backward")
            with cost_of(messages) as spent:
                record_outcome(attempt, Succeeded(output=None))
        assert spent == cost(1, 1, 1, portable=7)

    def test_statements_of_the_last_outcome(self, length: int, messages: list[str]) -> None:
        with chain(length) as saga:
            run = started(saga)
            last = StepRun.objects.filter(run=run, name=f"step_{length - 1}")
            last.update(state="ready", due_at=Now(), send_at=Now(), pending_predecessors=0)
            attempt = claimed(run, f"step_{length - 1}")
            with cost_of(messages) as spent:
                record_outcome(attempt, Succeeded(output=1))
        assert spent == cost(1, 1, 0, portable=5)


class TestCostOfASaga:
    def test_five_steps_cost_five_times_one(self, messages: list[str]) -> None:
        with chain(5) as saga:
            with cost_of(messages) as start:
                run = started(saga)
            ids = [step_of(run, f"step_{number}").pk for number in range(5)]
            with cost_of(messages) as steps:
                done = [execute(step_id, 0) for step_id in ids]
        assert done == ["succeeded"] * 5
        assert start == cost(1, 1, 1, portable=4)
        assert steps == cost(5 * 2, 5 * 2, 4, portable=5 * 8)

    def test_five_steps_in_place_cost_one_message_and_a_statement_each(
        self, messages: list[str]
    ) -> None:
        with chain(5) as saga:
            run = started(saga)
            (row,) = ready_steps(run)
            with cost_of(messages) as spent:
                execute(row.pk, row.fence, in_place=True)
        assert SagaRun.objects.get(pk=run.pk).is_completed
        assert spent == cost(1 + 5, 1 + 5, 0, portable=3 + 4 * 7 + 5)

    def test_many_starts_cost_one_statement(self, messages: list[str]) -> None:
        with chain(5) as saga, cost_of(messages) as spent:
            start_sagas(saga, [Fails()] * 4, keys=[*"abcd"])
        assert spent == cost(1, 1, 4, portable=4)

    @pytest.mark.postgres
    def test_very_many_starts_cost_one_statement_per_two_hundred_and_one_commit(
        self, messages: list[str]
    ) -> None:
        keys = [str(number) for number in range(450)]
        with chain(5) as saga, cost_of(messages) as spent:
            start_sagas(saga, [Fails()] * len(keys), keys=keys)
        assert spent == cost(3, 1, 450)


BIG_TABLES = ("sagas_sagarun", "sagas_steprun", "sagas_sagaevent")
ON_BIG_TABLES = re.compile(rf"Seq Scan on ({'|'.join(BIG_TABLES)})")


def plans(queries: list[str]) -> list[tuple[str, str]]:
    """Return each statement with its plan; a prepared one with the generic plan that it ends up with."""
    found = []
    with connection.cursor() as cursor:
        for mode in ("force_custom_plan", "force_generic_plan"):
            cursor.execute(f"SET plan_cache_mode = {mode}")
            for query in queries:
                cursor.execute(f"EXPLAIN {query}")
                found.append((query, "\n".join(line for (line,) in cursor.fetchall())))
        cursor.execute("RESET plan_cache_mode")
    return found


@pytest.mark.postgres
class TestQueryPlans:
    """No statement of the hot path counts or scans: each finds its rows by an index."""

    @pytest.fixture(autouse=True)
    def _much_history(self, transactional_db: None) -> None:
        fill_history()

    def explained(self, messages: list[str], act: Callable[[], object]) -> str:
        queries: list[str] = []
        with cost_of(messages, queries):
            act()
        found = plans(queries)
        for query, plan in found:
            assert not ON_BIG_TABLES.search(plan), f"{query}\n{plan}"
            assert "COUNT(" not in query.upper(), query
        return "\n".join(plan for _, plan in found)

    def test_no_table_is_scanned_from_start_to_end(self, messages: list[str]) -> None:
        with chain(5) as saga:
            assert self.explained(messages, lambda: drive(started(saga)))

    def test_no_table_is_scanned_from_start_to_failure_and_back(self, messages: list[str]) -> None:
        with chain(5) as saga:
            assert self.explained(messages, lambda: drive(started(saga, fails_at=3)))

    def test_a_sweep_finds_its_rows_by_the_partial_indexes(self, messages: list[str]) -> None:
        past = Now() - timedelta(minutes=1)
        with chain(5) as saga:
            runs = [start_saga(saga, Fails(), key=str(number)) for number in range(9)]
            for run in runs[:3]:
                expire_lease(claimed(run, "step_0").pk)
            unsent = StepRun.objects.filter(run__in=runs[3:6], state="ready")
            unsent.update(send_at=past, sent_at=None)
            SagaRun.objects.filter(pk__in=[run.pk for run in runs[6:]]).update(deadline=past)
            reports = []
            text = self.explained(messages, lambda: reports.append(recover.sweep()))
        assert (reports[0].lost, reports[0].expired) == (3, 3)
        assert reports[0].sent >= 3
        for index in ("sagas_step_lease_until", "sagas_run_deadline", "sagas_step_send"):
            assert f"using {index}" in text or f"on {index}" in text, text

    def test_an_idle_sweep_costs_six_reads_and_one_write(self, messages: list[str]) -> None:
        recover.sweep()
        with cost_of(messages) as spent:
            assert recover.sweep().total == 0
        assert spent.statements <= 7


@pytest.mark.postgres
class TestFirstQueryPlans:
    """A plan is kept; the first one after an ANALYZE must be one for the tables to come."""

    def test_autovacuum_waits_until_an_index_pays(self, transactional_db: None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT unnest(reloptions) FROM pg_class WHERE relname = 'sagas_steprun'"
            )
            options = {option for (option,) in cursor.fetchall()}
        assert "autovacuum_analyze_threshold=1000" in options
        assert "autovacuum_vacuum_threshold=1000" in options

    @pytest.fixture
    def _never_analyzed(self, transactional_db: None) -> Iterator[None]:
        """As on a new database: what earlier tests changed makes autovacuum come in the middle of this one."""
        with connection.cursor() as cursor:
            for table in BIG_TABLES:
                cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
                cursor.execute(f"TRUNCATE {table} CASCADE")  # forgets how many rows there were
            yield
            for table in BIG_TABLES:
                cursor.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")

    @pytest.mark.usefixtures("_never_analyzed")
    def test_after_autovacuum_no_table_is_scanned(self, messages: list[str]) -> None:
        queries: list[str] = []
        with chain(5) as saga:
            # A thousand changes of steps: five rows, written three times each, in 67 sagas.
            for number in range(67):
                drive(start_saga(saga, Fails(), key=str(number)))
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE sagas_steprun")  # the runs have not changed so often
            with cost_of(messages, queries):
                drive(start_saga(saga, Fails(), key="next"))
        hot = [query for query in queries if query.startswith("EXECUTE")]
        assert len(hot) == 1 + 2 * 5
        for query, plan in plans(hot):
            assert not ON_BIG_TABLES.search(plan), f"{query}\n{plan}"
