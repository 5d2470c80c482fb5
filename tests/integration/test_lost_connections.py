"""The database goes away for a moment: the engine insists, and a handler's outcome stays honest."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, connections, transaction
from pytest_django import Settings

from sagas import Saga, start_saga, step
from sagas.engine import execute
from sagas.engine.advance import end_lost_attempt
from sagas.engine.transitions import change
from sagas.models import SagaRun
from sagas.operations import pause_saga
from sagas.operations.operating import locked
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, expire_lease, run_one, step_of


pytestmark = pytest.mark.django_db(transaction=True)

CALLS: list[str] = []


@dataclass(frozen=True)
class Faults:
    lost: list[str] = field(default_factory=list)


class Writing(Saga[Faults]):
    """Talks to the outside and to the database; loses the connection where its input says so."""

    class Meta:
        label = "tests.Writing"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def charge(self) -> str:
        return self.lose("charge")

    @charge.compensation
    def refund(self, _: str | None) -> None:
        CALLS.append("refund")

    @step(atomic=True)
    def book(self) -> str:
        Group.objects.create(name=f"booked-{self.attempt}")
        return self.lose("book")

    book.no_compensation("it is the last")

    def lose(self, name: str) -> str:
        CALLS.append(name)
        if name in self.input.lost and self.attempt == 1:
            raise OperationalError("terminating connection")
        return name


@pytest.fixture(autouse=True)
def _quickly(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    monkeypatch.setattr(execute, "RECONNECT_DELAYS", (0.0, 0.0))
    monkeypatch.setattr(execute, "OUTCOME_RECONNECT_DELAYS", (0.0,))


def start(*lost: str) -> SagaRun:
    return start_saga(Writing, Faults(list(lost)), key="k")


class TestAConnectionLostInAHandler:
    def test_leaves_a_plain_step_in_doubt_and_it_is_tried_again(self) -> None:
        run = start("charge")
        run_one(run)
        row = step_of(run, "charge")
        assert (row.state, row.in_doubt) == (StepState.READY, True)
        assert drive(run).state == SagaState.COMPLETED

    def test_leaves_an_atomic_step_in_no_doubt_and_it_is_tried_again(self) -> None:
        run = start("book")
        run_one(run)
        run_one(run)
        row = step_of(run, "book")
        assert (row.state, row.in_doubt) == (StepState.READY, False)
        assert drive(run).state == SagaState.COMPLETED
        assert [group.name for group in Group.objects.all()] == ["booked-2"]


@pytest.mark.postgres
class TestAProcessFrozenInAnOutcome:
    """A process that is stopped while it holds the run's lock: the server takes the lock away."""

    @pytest.fixture(autouse=True)
    def _portable(self, settings: Settings) -> None:
        settings.SAGAS = {**settings.SAGAS, "POSTGRESQL_STATEMENTS": False, "LEASE_SECONDS": 1.0}

    def test_the_run_is_free_before_it_wakes_and_the_outcome_is_recorded_then(self) -> None:
        run = start()
        row = step_of(run, "charge")
        with asleep_until_others_hold(run, when=lambda: CALLS == ["charge"]):
            assert execute.execute(row.pk, row.fence) == "succeeded"
        assert step_of(run, "charge").state == StepState.SUCCEEDED
        assert CALLS == ["charge"]

    def test_what_happens_meanwhile_makes_the_outcome_a_late_one(self) -> None:
        run = start()
        row = step_of(run, "charge")

        def give_up() -> None:
            # Its process lives, and may renew the lease in between.
            for _ in range(10):
                expire_lease(row.pk)
                if end_lost_attempt(step_of(run, "charge")):
                    return
            pytest.fail("the attempt is not given up")

        meanwhile = partial(in_another_thread, give_up)
        with asleep_until_others_hold(run, when=lambda: CALLS == ["charge"], then=meanwhile):
            assert execute.execute(row.pk, row.fence) == "late"
        assert run.events.filter(type=EventType.STEP_LATE).exists()
        assert drive(run).state == SagaState.COMPLETED

    def test_a_transaction_of_the_caller_may_idle_as_long_as_it_likes(self) -> None:
        run = start()
        with transaction.atomic():
            with locked(run, "look"):
                assert may_idle() == "0"
            with change(run.pk):
                assert may_idle() == "0"
            pause_saga(run, reason="x")
            assert may_idle() == "0"

    def test_an_operators_verb_is_bounded_too(self) -> None:
        run = start()
        with locked(run, "look"):
            assert may_idle() == "1s"
        assert may_idle() == "0"

    def test_the_bound_on_idling_ends_with_its_transaction(self) -> None:
        with change(start().pk):
            assert may_idle() == "1s"
        assert may_idle() == "0"


class TestOutcomesOnALostConnection:
    @pytest.mark.postgres
    def test_an_outcome_whose_connection_was_cut_is_recorded_on_a_new_one(self) -> None:
        run = start()
        row = step_of(run, "charge")
        with cut_once(when=lambda: CALLS == ["charge"]):
            assert execute.execute(row.pk, row.fence) == "succeeded"
        assert step_of(run, "charge").state == StepState.SUCCEEDED
        assert CALLS == ["charge"]

    def test_within_a_transaction_of_the_caller_nothing_is_tried_twice(self) -> None:
        tries: list[int] = []

        def lost() -> None:
            tries.append(1)
            raise OperationalError("gone")

        with pytest.raises(OperationalError), transaction.atomic():
            execute.retry_on_lost_connection(lost)
        assert len(tries) == 1

    def test_recording_gives_up_after_a_few_tries(self) -> None:
        tries: list[int] = []

        def lost() -> None:
            tries.append(1)
            raise OperationalError("gone")

        with pytest.raises(OperationalError):
            execute.retry_on_lost_connection(lost)
        assert len(tries) == 3


def may_idle() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        return str(cursor.fetchone()[0])


def in_another_thread(act: Callable[[], None]) -> None:
    def then_close() -> None:
        try:
            act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(then_close).result(60)


@contextmanager
def asleep_until_others_hold(
    run: SagaRun, *, when: Callable[[], bool], then: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Stand still after ``when``, once the run is locked, until another session has had that lock."""
    slept: list[bool] = []

    def hold() -> None:
        with transaction.atomic():
            SagaRun.objects.select_for_update().get(pk=run.pk)

    def sleep(call: Callable[..., object], sql: str, *rest: object) -> object:
        if when() and sql.startswith("UPDATE") and connection.in_atomic_block and not slept:
            slept.append(True)
            in_another_thread(hold)
            then()
        return call(sql, *rest)

    with connection.execute_wrapper(sleep):
        yield
    assert slept


@contextmanager
def cut_once(*, when: Callable[[], bool]) -> Iterator[None]:
    """Have PostgreSQL end this process's session before the first statement after ``when``."""
    done: list[bool] = []

    def cut(call: Callable[..., object], sql: str, *rest: object) -> object:
        if when() and not done:
            done.append(True)
            with connection.connection.cursor() as cursor, suppress(psycopg.Error):
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return call(sql, *rest)

    with connection.execute_wrapper(cut):
        yield
    assert done
