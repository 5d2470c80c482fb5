"""A handler beats while a transaction of its own is open: nobody waits for it, and nobody loses it (B2)."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, connections, transaction
from pytest_django import Settings

from sagas import PermanentError, Saga, start_saga, step
from sagas.engine import leases, transitions
from sagas.engine.recover import sweep
from sagas.engine.transitions import renew_leases
from sagas.exceptions import SagaCancelled
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, step_of


pytestmark = pytest.mark.django_db(transaction=True)

DO: dict[str, Callable[[Any], Any]] = {}
LEASE = 1.0


class Importing(Saga[str]):
    """Does what the test put into ``DO``, in a transaction or in none."""

    class Meta:
        label = "tests.Importing"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step(time_limit=20)
    def plain(self) -> str:
        return told("plain", self)

    plain.no_compensation("-")

    @step(atomic=True, time_limit=20)
    def atomic(self) -> str:
        return told("atomic", self)

    atomic.no_compensation("-")


def told(name: str, saga: Any) -> str:
    act = DO.get(name)
    return "" if act is None else str(act(saga))


@pytest.fixture(autouse=True)
def _short_leases(messages: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SAGAS = {
        **settings.SAGAS,
        "LEASE_SECONDS": LEASE,
        "LEASE_RENEWAL_SECONDS": 0.1,
    }
    monkeypatch.setattr("sagas.engine.handler_context.HEARTBEAT_SECONDS", 0.05)
    # A thread of its own, which no other test's slow rounds delay.
    monkeypatch.setattr(leases, "_keeper", leases._LeaseRenewer())
    DO.clear()


def start(key: str = "k") -> SagaRun:
    return start_saga(Importing, "x", key=key)


def beats(seconds: float) -> Callable[[Any], str]:
    def act(saga: Any) -> str:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.05)
            saga.heartbeat({"at": "work"})
        return f"attempt {saga.attempt}"

    return act


def in_a_transaction(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def acting(saga: Any) -> Any:
        with transaction.atomic():
            Group.objects.create(name=f"attempt {saga.attempt}")
            return act(saga)

    return acting


@contextmanager
def sweeping() -> Iterator[list[float]]:
    """Sweep all the while; yields how long each round took."""
    rounds: list[float] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            began = time.monotonic()
            sweep()
            rounds.append(time.monotonic() - began)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        swept = pool.submit(work)
        yield rounds
        over.set()
        swept.result(30)


@pytest.mark.postgres
class TestLongTransactions:
    @pytest.mark.parametrize("name", ["atomic", "plain"])
    def test_the_attempt_is_kept_and_no_sweep_waits_for_it(self, name: str) -> None:
        run = start()
        DO[name] = in_a_transaction(beats(2.5 * LEASE))
        with sweeping() as rounds:
            drive(run)
        assert fresh(run).state == SagaState.COMPLETED
        assert step_of(run, name).output == "attempt 1"
        assert [group.name for group in Group.objects.all()] == ["attempt 1"]
        assert max(rounds) < LEASE

    def test_a_transaction_begun_by_a_statement_is_known_too(self) -> None:
        run = start()

        def act(saga: Any) -> str:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                try:
                    return beats(2 * LEASE)(saga)
                finally:
                    cursor.execute("COMMIT")

        DO["plain"] = act
        with sweeping() as rounds:
            run_one(run)
        assert step_of(run, "plain").output == "attempt 1"
        assert max(rounds) < LEASE

    @pytest.mark.parametrize("name", ["atomic", "plain"])
    def test_a_cancelled_saga_is_heard_at_one_of_the_next_beats(self, name: str) -> None:
        run = start()
        if name == "atomic":
            run_one(run)
        heard: list[float] = []

        def act(saga: Any) -> str:
            in_another_thread(lambda: cancel_saga(SagaRun.objects.get(pk=run.pk), reason="no"))
            began = time.monotonic()
            try:
                return beats(10)(saga)
            except SagaCancelled:
                heard.append(time.monotonic() - began)
                raise

        DO[name] = in_a_transaction(act)
        run_one(run)
        assert heard
        assert heard[0] < 5
        assert step_of(run, name).error_code == "SAGA_CANCELLED"

    def test_that_an_attempt_lives_is_written_before_the_transaction_ends(self) -> None:
        run = start()
        told: list[bool] = []

        def act(saga: Any) -> str:
            began: Any = step_of(run, "plain").lease_until
            beats(0.6)(saga)

            def look() -> None:
                row: Any = step_of(run, "plain")
                told.append(row.lease_until > began and row.heartbeat is None)

            in_another_thread(look)
            return ""

        DO["plain"] = in_a_transaction(act)
        run_one(run)
        assert told == [True]


class TestProgress:
    def test_progress_counts_when_it_is_committed(self) -> None:
        run = start()
        DO["plain"] = in_a_transaction(lambda saga: saga.heartbeat({"page": 7}))
        run_one(run)
        assert step_of(run, "plain").heartbeat == {"page": 7}

    def test_progress_that_was_rolled_back_is_not_gone_on_from(self) -> None:
        run = start()

        def act(saga: Any) -> None:
            saga.heartbeat({"page": 3})
            time.sleep(0.1)
            with transaction.atomic():
                saga.heartbeat({"page": 7})
                raise ConnectionError("the feed broke")

        DO["plain"] = act
        run_one(run)
        assert step_of(run, "plain").heartbeat == {"page": 3}

    def test_an_atomic_step_begins_anew_as_all_it_did_was_rolled_back(self) -> None:
        run = start()
        seen: list[Any] = []

        def act(saga: Any) -> None:
            seen.append(saga.last_heartbeat)
            beats(0.4)(saga)
            if saga.attempt == 1:
                raise ConnectionError("the feed broke")

        DO["atomic"] = act
        assert drive(run).state == SagaState.COMPLETED
        assert seen == [None, None]

    def test_in_a_test_that_is_a_transaction_itself_beats_are_written_there(self) -> None:
        with transaction.atomic():
            run = start()
            DO["plain"] = beats(0.5)
            run_one(run)
            row = step_of(run, "plain")
            assert (row.state, row.heartbeat) == (StepState.SUCCEEDED, {"at": "work"})

    def test_a_beat_that_the_database_does_not_take_fails_nothing_and_is_written_later(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start()
        inner = transitions.record_heartbeat
        lost: list[int] = []

        def lost_once(*args: Any) -> bool:
            if not lost:
                lost.append(1)
                raise OperationalError("gone")
            return inner(*args)

        def act(saga: Any) -> str:
            saga.heartbeat({"page": 1})
            until = time.monotonic() + 10
            while step_of(run, "plain").heartbeat is None and time.monotonic() < until:
                time.sleep(0.05)
            return "done"

        monkeypatch.setattr(transitions, "record_heartbeat", lost_once)
        DO["plain"] = act
        run_one(run)
        row = step_of(run, "plain")
        assert (row.state, row.heartbeat) == (StepState.SUCCEEDED, {"page": 1})


class Limited(Saga[str]):
    """Beats for longer than it may run."""

    class Meta:
        label = "tests.BeatsOn"

    @step(time_limit=1, max_retries=0)
    def work(self) -> str:
        return beats(30)(self)

    work.no_compensation("-")


def test_beats_end_at_the_time_limit_where_nobody_can_kill_the_handler() -> None:
    run = start_saga(Limited, "x", key="k")
    began = time.monotonic()
    run_one(run)
    assert time.monotonic() - began < 10
    assert step_of(run, "work").error_code == "SAGA_CANCELLED"


@pytest.mark.postgres
class TestRenewing:
    def test_a_locked_row_keeps_no_other_lease_from_being_renewed(self) -> None:
        locked, other, lost = (claimed(start(key), "plain") for key in ("a", "b", "c"))
        before = step_of(other.run, "plain").lease_until
        StepRun.objects.filter(pk=lost.pk).update(fence=lost.fence + 1)
        with transaction.atomic():
            StepRun.objects.select_for_update().get(pk=locked.pk)

            def renew() -> Any:
                return renew_leases([(each.pk, each.fence) for each in (locked, other, lost)])

            renewal = in_another_thread(renew)
        assert renewal.locked == {(locked.pk, locked.fence)}
        assert renewal.lost == {(lost.pk, lost.fence)}
        after = step_of(other.run, "plain").lease_until
        assert before is not None
        assert after is not None
        assert after > before

    def test_an_attempt_whose_row_was_locked_for_longer_than_a_lease_is_not_lost(self) -> None:
        run = start()

        def sleep(saga: Any) -> str:
            time.sleep(3 * LEASE)
            return f"attempt {saga.attempt}"

        DO["plain"] = sleep

        def lock_for_long() -> None:
            time.sleep(0.3)
            with transaction.atomic():
                StepRun.objects.select_for_update().get(run=run, name="plain")
                time.sleep(1.7 * LEASE)

        with ThreadPoolExecutor(1) as pool:
            locking = pool.submit(closing(lock_for_long))
            run_one(run)
            locking.result(30)
        assert step_of(run, "plain").output == "attempt 1"


def closing(act: Callable[[], Any]) -> Callable[[], Any]:
    def then_close() -> Any:
        try:
            return act()
        finally:
            connections.close_all()

    return then_close


def in_another_thread(act: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(closing(act)).result(30)


def test_a_permanent_error_after_a_beat_in_a_transaction_is_a_definite_failure() -> None:
    run = start()

    def act(saga: Any) -> None:
        saga.heartbeat()
        raise PermanentError("no")

    DO["plain"] = in_a_transaction(act)
    run_one(run)
    assert step_of(run, "plain").state == StepState.FAILED
