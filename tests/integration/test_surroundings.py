"""What a handler leaves behind in its process is put right, and told (B13)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.utils import timezone, translation

from sagas import PermanentError, Saga, start_saga, step
from sagas.models import SagaRun
from sagas.states import SagaState, StepState
from tests.driving import drive, run_one, step_of


pytestmark = pytest.mark.django_db(transaction=True)

DO: dict[str, Callable[[Any], Any]] = {}
UNDONE: list[str] = []


class Careless(Saga[str]):
    """plain → atomic; each does what the test put into ``DO``."""

    class Meta:
        label = "tests.Careless"
        step_defaults = {"max_retries": 0}

    @step
    def plain(self) -> str:
        return told("plain", self)

    @plain.compensation
    def undo_plain(self, _: str | None) -> None:
        UNDONE.append("plain")

    @step(atomic=True)
    def atomic(self) -> str:
        return told("atomic", self)

    @atomic.compensation
    def undo_atomic(self, _: str | None) -> None:
        UNDONE.append("atomic")


def told(name: str, saga: Any) -> str:
    act = DO.get(name)
    return "" if act is None else str(act(saga))


@pytest.fixture(autouse=True)
def _nothing_left(messages: list[str]) -> Iterator[None]:
    DO.clear()
    UNDONE.clear()
    yield
    if connection.in_atomic_block or not connection.autocommit:
        connection.in_atomic_block = False
        connection.close()


def start() -> SagaRun:
    return start_saga(Careless, "x", key="k")


def sql(*statements: str) -> Callable[[Any], None]:
    def act(_: Any) -> None:
        Group.objects.get_or_create(name="before")
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    return act


def write_without_autocommit(_: Any) -> None:
    transaction.set_autocommit(False)
    Group.objects.create(name="never committed")


def enter_and_never_leave(_: Any) -> None:
    transaction.atomic().__enter__()
    Group.objects.create(name="never committed")


def close_within(_: Any) -> None:
    transaction.atomic().__enter__()
    connection.close()


LEFT: list[Any] = [
    pytest.param(sql("BEGIN", "UPDATE auth_group SET name = 'x'"), "never ended", id="BEGIN"),
    pytest.param(write_without_autocommit, "autocommit switched", id="set_autocommit"),
    pytest.param(enter_and_never_leave, "never left", id="atomic"),
    pytest.param(close_within, "never left", id="closed in atomic"),
]


class TestAnOpenTransaction:
    @pytest.mark.parametrize(("act", "told"), LEFT)
    def test_is_rolled_back_and_the_step_is_in_doubt(
        self, act: Callable[[Any], None], told: str
    ) -> None:
        run = start()
        DO["plain"] = act
        run_one(run)
        row = step_of(run, "plain")
        assert (row.state, row.in_doubt) == (StepState.UNKNOWN, True)
        assert row.error_code == "TRANSACTION_LEFT_OPEN"
        assert told in row.error
        assert "'default'" in row.error
        assert not Group.objects.exclude(name="before").exists()
        assert drive(run).state == SagaState.COMPENSATED
        assert UNDONE == ["plain"]

    @pytest.mark.parametrize(("act", "told"), LEFT)
    def test_beside_an_error_is_put_right_and_the_error_tells(
        self, act: Callable[[Any], None], told: str
    ) -> None:
        run = start()

        def fail(saga: Any) -> None:
            act(saga)
            raise PermanentError(f"after {told}", code="MINE")

        DO["plain"] = fail
        assert drive(run).state == SagaState.COMPENSATED
        row = step_of(run, "plain")
        assert (row.state, row.error_code) == (StepState.FAILED, "MINE")
        assert not Group.objects.exclude(name="before").exists()

    def test_in_an_atomic_step_is_rolled_back_with_it(self) -> None:
        run = start()
        run_one(run)
        DO["atomic"] = enter_and_never_leave
        run_one(run)
        assert step_of(run, "atomic").error_code == "TRANSACTION_LEFT_OPEN"
        assert not Group.objects.exists()
        assert drive(run).state == SagaState.COMPENSATED

    def test_an_atomic_step_that_commits_by_itself_may_have_happened(self) -> None:
        run = start()
        run_one(run)
        DO["atomic"] = sql("COMMIT")
        run_one(run)
        row = step_of(run, "atomic")
        assert (row.state, row.in_doubt) == (StepState.UNKNOWN, True)
        assert "its caller's transaction ended" in row.error
        assert drive(run).state == SagaState.COMPENSATED
        assert UNDONE == ["atomic", "plain"]

    def test_that_was_ended_is_nobodys_business(self) -> None:
        run = start()
        DO["plain"] = sql("BEGIN", "COMMIT")
        DO["atomic"] = sql("SAVEPOINT mine", "ROLLBACK TO mine")
        assert drive(run).state == SagaState.COMPLETED


class TestTimeZoneAndLanguage:
    def test_are_those_of_before_after_a_handler_changed_them(self) -> None:
        run = start()
        seen: list[tuple[str, str]] = []

        def look(_: Any) -> None:
            seen.append((timezone.get_current_timezone_name(), translation.get_language()))

        def change(saga: Any) -> None:
            look(saga)
            timezone.activate("Pacific/Auckland")
            translation.activate("de")
            look(saga)

        DO.update(plain=change, atomic=look)
        assert drive(run).state == SagaState.COMPLETED
        assert seen == [seen[0], ("Pacific/Auckland", "de"), seen[0]]
        look(None)
        assert seen[-1] == seen[0]


@pytest.mark.postgres
class TestTheSession:
    @pytest.mark.parametrize(
        "statement",
        [
            "SET search_path TO pg_temp",
            "SET SESSION default_transaction_read_only = on",
            "SELECT 1; SET search_path = nowhere",
            "SELECT set_config('search_path', 'nowhere', false)",
            "SET statement_timeout = 1",
            "DEALLOCATE ALL",
        ],
    )
    def test_a_setting_does_not_outlive_the_handler(self, statement: str) -> None:
        run = start()
        DO["plain"] = sql(statement)
        assert drive(run).state == SagaState.COMPLETED

    def test_a_damage_that_nobody_saw_is_healed_by_the_first_error(self) -> None:
        run = start()

        def unseen(_: Any) -> None:
            Group.objects.create(name="x")
            connection.connection.execute("SET search_path TO nowhere")

        DO["plain"] = unseen
        assert drive(run).state == SagaState.COMPLETED

    def test_an_ordinary_handler_keeps_its_connection(self) -> None:
        run = start()
        run_one(run)
        before = connection.connection
        DO["atomic"] = sql("SET LOCAL statement_timeout = 10000", "UPDATE auth_group SET name = ''")
        assert drive(run).state == SagaState.COMPLETED
        assert connection.connection is before
