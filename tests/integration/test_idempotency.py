"""The first result under a key is the only one (R43, R63)."""

import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from threading import Event

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection
from django.utils import timezone

from sagas import PermanentError, Saga, retention, start_saga, step
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.transitions import claim
from sagas.exceptions import PayloadError, SagaDefinitionError
from sagas.idempotency import idempotent, once, undo_once
from sagas.models import IdempotencyRecord
from sagas.operations import cancel_saga
from sagas.states import SagaState
from tests.driving import drive, expire_lease, step_of
from tests.factories import make_run
from tests.races import TIMES, racers


pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Booking:
    """A result that JSON alone would not bring back."""

    number: int
    amount: Decimal


def book(name: str = "effect") -> Booking:
    """An effect in the database, which can be counted."""
    Group.objects.create(name=f"{name} {Group.objects.count() + 1}")
    return Booking(Group.objects.count(), Decimal("9.90"))


class TestOnce:
    def test_a_repeated_call_returns_the_first_result_and_does_nothing(self) -> None:
        first = once("k", book)
        assert first == Booking(1, Decimal("9.90"))
        assert [once("k", book) for _ in range(3)] == [first] * 3
        assert Group.objects.count() == 1

    def test_another_key_is_another_effect(self) -> None:
        assert once("k", book) != once("l", book)
        assert Group.objects.count() == 2

    def test_what_raises_leaves_neither_effect_nor_record_and_may_be_tried_again(self) -> None:
        def fail() -> None:
            book()
            raise PermanentError("no")

        with pytest.raises(PermanentError):
            once("k", fail)
        assert not Group.objects.exists()
        assert not IdempotencyRecord.objects.exists()
        assert once("k", book).number == 1

    def test_without_an_annotation_the_result_is_plain_data_from_the_first_time_on(self) -> None:
        results = [once("k", lambda: {"at": (1, 2), "amount": Decimal(1)}) for _ in range(2)]
        assert results == [{"at": [1, 2], "amount": "1"}] * 2

    def test_the_type_can_be_said(self) -> None:
        results = [once("k", lambda: (1, Decimal(1)), returns=tuple[int, Decimal]) for _ in "ab"]
        assert results == [(1, Decimal(1))] * 2

    def test_nothing_is_a_result_too(self) -> None:
        def nothing() -> None:
            book()

        assert [once("k", nothing), once("k", nothing)] == [None, None]
        assert Group.objects.count() == 1

    def test_a_result_that_cannot_be_stored_undoes_the_effect(self) -> None:
        def wrong() -> int:
            book()
            return "text"  # type: ignore[return-value]

        with pytest.raises(PayloadError, match="result under the key 'k'"):
            once("k", wrong)
        assert not Group.objects.exists()

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b"])
    def test_a_key_that_is_none_is_refused(self, key: str) -> None:
        with pytest.raises(PayloadError, match="1 to 255 characters"):
            once(key, book)

    def test_once_joins_the_transaction_that_is_open(self) -> None:
        def outer() -> None:
            once("inner", book)
            raise DatabaseError

        with pytest.raises(DatabaseError):
            once("outer", outer)
        assert not Group.objects.exists()
        assert not IdempotencyRecord.objects.exists()


class TestAtTheSameTime:
    def test_of_two_calls_one_takes_effect_and_both_get_its_result(self) -> None:
        with racers(2) as runners:
            for number in range(TIMES):
                before = Group.objects.count()
                one, other = runners.race(*[partial(once, f"k{number}", book)] * 2)
                assert isinstance(one, Booking), repr(one)
                assert one == other
                assert Group.objects.count() == before + 1

    @pytest.mark.postgres
    def test_the_second_call_waits_for_the_first_and_runs_when_that_fails(self) -> None:
        begun = Event()

        def fail_slowly() -> Booking:
            begun.set()
            wait_until_somebody_waits_for_a_lock()
            raise PermanentError("no")

        def second() -> Booking:
            begun.wait(60)
            return once("k", book)

        with racers(2) as runners:
            failed, result = runners.race(partial(once, "k", fail_slowly), second)
        assert isinstance(failed, PermanentError)
        assert result.number == 1
        assert Group.objects.count() == 1


def wait_until_somebody_waits_for_a_lock() -> None:
    until = time.monotonic() + 60
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone() == (True,):
                return
            assert time.monotonic() < until, "nobody waits"
            time.sleep(0.01)


def released() -> None:
    book("released")


class Guarded(Saga[str]):
    """A step and its compensation, each with an effect in the database."""

    class Meta:
        label = "tests.Guarded"

    @step
    @idempotent
    def reserve(self) -> Booking:
        return book(f"{self.input} reserved")

    @reserve.compensation
    def release(self, _booking: Booking | None) -> None:
        undo_once(self.undoing.idempotency_key, released)

    @step
    def pay(self) -> str:
        return "paid"

    pay.no_compensation("nothing happens")


class TestHandlers:
    @pytest.fixture(autouse=True)
    def _no_broker(self, messages: list[str]) -> None:
        pass

    def test_a_saga_declared_with_it_is_sound_and_keeps_its_types(self) -> None:
        assert Guarded.definition.problems() == []
        run = drive(start_saga(Guarded, "x", key="k"))
        assert run.state == SagaState.COMPLETED
        assert Guarded.definition.step("reserve").result_codec.load(
            step_of(run, "reserve").output
        ) == Booking(1, Decimal("9.90"))

    def test_a_crash_after_the_effect_leaves_it_once_with_the_same_result(self) -> None:
        run = start_saga(Guarded, "x", key="k")
        row = step_of(run, "reserve")
        attempt = claim(row.pk, row.fence, task_id="", worker="")
        assert attempt is not None
        # What the handler does; then its process dies, before the outcome is recorded.
        first = once(row.idempotency_key, book)
        expire_lease(row.pk)
        assert recover.sweep().lost == 1
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "reserve").attempt == 2
        assert step_of(run, "reserve").output == {"number": first.number, "amount": "9.90"}
        assert Group.objects.count() == 1

    def test_a_crash_after_the_undo_leaves_it_undone_once(self) -> None:
        run = start_saga(Guarded, "x", key="k")
        row = step_of(run, "reserve")
        execute(row.pk, row.fence)
        cancel_saga(run, reason="x")
        undo = step_of(run, "reserve", direction="backward")
        assert claim(undo.pk, undo.fence, task_id="", worker="") is not None
        assert undo_once(row.idempotency_key, released)
        expire_lease(undo.pk)
        recover.sweep()
        assert drive(run).state == SagaState.CANCELLED
        assert Group.objects.count() == 2

    def test_an_attempt_that_wakes_up_after_its_undo_finds_that_it_must_not(self) -> None:
        run = start_saga(Guarded, "x", key="k")
        row = step_of(run, "reserve")
        stale = claim(row.pk, row.fence, task_id="", worker="")
        assert stale is not None
        cancel_saga(run, reason="x")
        expire_lease(row.pk)
        recover.sweep()
        assert drive(run).state == SagaState.CANCELLED
        with pytest.raises(PermanentError, match="undone before") as caught:
            once(stale.idempotency_key, book)
        assert caught.value.code == "CANCELLED"
        assert not Group.objects.exists()

    def test_an_attempt_that_took_effect_just_before_its_undo_and_reports_later_is_undone_once(
        self,
    ) -> None:
        run = start_saga(Guarded, "x", key="k")
        row = step_of(run, "reserve")
        stale = claim(row.pk, row.fence, task_id="", worker="")
        assert stale is not None
        cancel_saga(run, reason="x")
        expire_lease(row.pk)
        recover.sweep()
        once(stale.idempotency_key, book)
        assert drive(run).state == SagaState.CANCELLED
        record_outcome(stale, Succeeded(output={"number": 1, "amount": "9.90"}))
        assert drive(run).state == SagaState.CANCELLED
        assert Group.objects.filter(name__startswith="released").count() == 1

    def test_once_is_refused_below_a_compensation(self) -> None:
        with pytest.raises(SagaDefinitionError, match="a compensation uses undo_once"):
            idempotent(Guarded.release)  # type: ignore[arg-type]  # mypy refuses it too


class TestUndoOnce:
    def test_undo_once_undoes_what_happened_the_first_time_only(self) -> None:
        once("k", book)
        assert [undo_once("k", released) for _ in range(3)] == [True, False, False]
        assert Group.objects.count() == 2

    def test_undo_once_before_the_effect_undoes_nothing_and_forbids_it(self) -> None:
        assert [undo_once("k", released) for _ in range(2)] == [False, False]
        with pytest.raises(PermanentError):
            once("k", book)
        assert not Group.objects.exists()

    def test_a_repeated_action_after_its_undo_returns_the_first_result_and_does_nothing(
        self,
    ) -> None:
        first = once("k", book)
        undo_once("k", released)
        assert once("k", book) == first
        assert Group.objects.count() == 2

    def test_an_undo_that_raises_leaves_the_effect_and_may_be_tried_again(self) -> None:
        def fail() -> None:
            released()
            raise ConnectionError

        once("k", book)
        with pytest.raises(ConnectionError):
            undo_once("k", fail)
        assert Group.objects.count() == 1
        assert undo_once("k", released)

    def test_an_effect_and_its_undo_at_once_leave_nothing_behind(self) -> None:
        with racers(2) as runners:
            for number in range(TIMES):
                Group.objects.all().delete()
                done, undone = runners.race(
                    partial(once, f"k{number}", book), partial(undo_once, f"k{number}", released)
                )
                assert undone is True or isinstance(done, PermanentError)
                assert Group.objects.count() == (2 if undone is True else 0)


class TestPurge:
    def test_old_records_go_unless_their_saga_may_still_ask(self) -> None:
        open_run = make_run(SagaState.RUNNING, "open")
        over = make_run(SagaState.COMPLETED, "over")
        keys = ["old", f"{open_run.pk}:pay", f"{over.pk}:pay", "not-a-uuid:pay"]
        for key in [*keys, "young"]:
            IdempotencyRecord.objects.create(key=key)
        old = timezone.now() - timedelta(days=100)
        IdempotencyRecord.objects.filter(key__in=keys).update(created_at=old)
        before = timezone.now() - timedelta(days=90)
        assert sum(retention.purge_records(before, batch_size=2)) == 3
        left = IdempotencyRecord.objects.values_list("key", flat=True)
        assert set(left) == {f"{open_run.pk}:pay", "young"}
