"""What an attempt that went wrong may have done: nothing before its handler, anything after (A2, A6)."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models import F

from sagas import PermanentError, Saga, start_saga, step
from sagas.conf import MAX_ERROR_LENGTH
from sagas.engine import execute, transitions
from sagas.engine.recover import sweep
from sagas.exceptions import OutcomeUnknown, SagaError
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, step_of


pytestmark = pytest.mark.django_db(transaction=True)

CALLS: list[str] = []
DO: dict[str, Callable[[Any], Any]] = {}


class Unreadable(Exception):
    """Not a ValueError, which pydantic would know."""


@dataclass(frozen=True)
class Receipt:
    """Refuses to be loaded while the test says so."""

    amount: int

    def __post_init__(self) -> None:
        if self.amount in REFUSED:
            raise Unreadable(self.amount)


REFUSED: set[int] = set()


class Paying(Saga[Receipt]):
    """pay → ship; every handler does what the test put into ``DO``."""

    class Meta:
        label = "tests.Paying"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def pay(self) -> Receipt:
        receipt: Receipt = self.told("pay", Receipt(5))
        return receipt

    @pay.condition
    def is_due(self) -> bool:
        return bool(self.told("is_due", True))

    @pay.compensation
    def refund(self, receipt: Receipt | None) -> None:
        self.told(f"refund({receipt and receipt.amount})", None)

    @step
    def ship(self) -> None:
        self.told("ship", None)

    ship.no_compensation("it is the last")

    def told(self, name: str, otherwise: Any) -> Any:
        CALLS.append(name)
        return DO.get(name, lambda _: otherwise)(self)


class InOne(Paying):
    """The first step is atomic."""

    class Meta:
        label = "tests.InOne"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step(atomic=True)
    def book(self) -> Receipt:
        receipt: Receipt = self.told("book", Receipt(5))
        return receipt

    @book.condition
    def is_bookable(self) -> bool:
        return bool(self.told("is_bookable", True))

    book.no_compensation("it is the last")


@pytest.fixture(autouse=True)
def _nothing_said(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("sagas.engine.execute.RECONNECT_DELAYS", (0.0, 0.0))
    monkeypatch.setattr("sagas.engine.execute.OUTCOME_RECONNECT_DELAYS", (0.0,))
    monkeypatch.setattr("sagas.engine.handler_context.HEARTBEAT_SECONDS", 0.0)
    CALLS.clear()
    DO.clear()
    REFUSED.clear()
    yield
    REFUSED.clear()


def start(saga: type[Paying] = Paying) -> SagaRun:
    return start_saga(saga, Receipt(1), key="k")


def raises(error: BaseException) -> Callable[[Any], Any]:
    def act(_: Any) -> None:
        raise error

    return act


def pay_of(run: SagaRun) -> tuple[str, bool, str]:
    row = step_of(run, "pay")
    return row.state, row.in_doubt, row.error_code


class TestCondition:
    def test_a_condition_is_not_asked_again_when_its_step_would_change_its_answer(self) -> None:
        run = start()
        DO["pay"] = raises(SystemExit())
        with pytest.raises(SystemExit):
            run_one(run)
        assert step_of(run, "pay").prepared
        expire_lease(step_of(run, "pay").pk)
        sweep()
        DO.update(is_due=lambda _: False, pay=lambda _: Receipt(5), ship=raises(PermanentError()))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["is_due", "pay", "pay", "ship", "refund(5)"]

    def test_the_handler_does_not_begin_when_the_attempt_was_given_up_meanwhile(self) -> None:
        run = start()

        def slow(saga: Paying) -> bool:
            expire_lease(step_of(run, "pay").pk)
            sweep()
            return True

        DO["is_due"] = slow
        row = step_of(run, "pay")
        assert execute.execute(row.pk, row.fence) == "late"
        assert CALLS == ["is_due"]
        assert step_of(run, "pay").prepared is None

    @pytest.mark.parametrize(
        ("error", "state"),
        [
            (ConnectionError("no answer"), StepState.READY),
            (asyncio.CancelledError(), StepState.READY),
            (KeyError("bug"), StepState.FAILED),
            (OutcomeUnknown("who knows"), StepState.FAILED),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_an_error_of_the_condition_leaves_no_doubt(
        self, error: BaseException, state: str
    ) -> None:
        run = start()
        DO["is_due"] = raises(error)
        run_one(run)
        assert pay_of(run)[:2] == (state, False)
        if state == StepState.READY:
            assert drive(run).state == SagaState.COMPENSATED
        assert not run.steps.backward().exists()

    def test_a_step_that_was_skipped_is_in_no_doubt_though_its_first_asking_was_lost(self) -> None:
        run = start()
        attempt = claimed(run, "pay")
        expire_lease(attempt.pk)
        sweep()
        DO["is_due"] = lambda _: False
        assert drive(run).state == SagaState.COMPLETED
        assert pay_of(run)[:2] == (StepState.SKIPPED, False)

    def test_the_answer_of_an_atomic_steps_condition_is_rolled_back_as_all_else_is(self) -> None:
        run = start(InOne)
        DO["book"] = raises(ConnectionError())
        drive(run)
        assert CALLS.count("is_bookable") == CALLS.count("book") == 2


class TestTheEnginesOwnErrors:
    """The handler ran to its end: whatever happens to its result, it may have acted."""

    @pytest.mark.parametrize(
        "result",
        ["no receipt", object(), Receipt(10**5000), Receipt.__new__(Receipt)],
        ids=["another type", "no data", "a number without end", "half made"],
    )
    def test_a_result_that_cannot_be_stored_is_in_doubt_and_undone(self, result: Any) -> None:
        run = start()
        DO["pay"] = lambda _: result
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "refund(None)"
        assert run.events.filter(note__contains="the result of pay of tests.Paying").exists()

    def test_a_result_whose_type_raises_when_it_is_loaded_is_in_doubt_and_undone(self) -> None:
        run = start()

        def pay(_: Any) -> Receipt:
            made = Receipt(5)
            REFUSED.add(5)
            return made

        DO["pay"] = pay
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "refund(None)"
        assert "cannot be loaded as Receipt: Unreadable" in fresh(run).error

    @pytest.mark.parametrize(
        "details", [object(), "\ud800", "a\x00b", float("nan"), 10**5000], ids=range(5)
    )
    def test_a_heartbeat_that_cannot_be_stored_is_in_doubt(self, details: Any) -> None:
        run = start()
        DO["pay"] = lambda saga: saga.heartbeat(details)
        run_one(run)
        assert pay_of(run)[:2] == (StepState.UNKNOWN, True)
        assert "the heartbeat of pay" in step_of(run, "pay").error

    def test_tags_that_cannot_be_stored_are_in_doubt(self) -> None:
        run = start()
        DO["pay"] = lambda saga: saga.set_tags(customer="a\x00b")
        run_one(run)
        assert pay_of(run) == (StepState.UNKNOWN, True, "PAYLOAD")

    def test_an_outcome_that_the_database_refuses_is_recorded_as_a_doubt(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start()

        def refused(*_: Any) -> None:
            raise ValueError("the driver cannot write this")

        with monkeypatch.context() as patched:
            patched.setattr(transitions, "succeed", refused)
            run_one(run)
        assert pay_of(run) == (StepState.READY, True, "ValueError")
        assert drive(run).state == SagaState.COMPLETED

    def test_an_outcome_that_the_database_refuses_each_time_is_unknown_and_undone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start()

        def refused(step: StepRun, *rest: Any) -> Any:
            if not step.is_backward:
                raise ValueError("the driver cannot write this")
            return succeed(step, *rest)

        succeed = transitions.succeed
        monkeypatch.setattr(transitions, "succeed", refused)
        assert drive(run).state == SagaState.COMPENSATED
        assert pay_of(run)[0] == StepState.COMPENSATED


class TextlessError(Exception):
    """Has neither text nor representation."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class TestErrorsOfAllKinds:
    @pytest.mark.parametrize(
        ("code", "told"),
        [
            (402, "402"),
            ("A\x00B", "A\ufffdB"),
            ("\ud800", "?"),
            ("x" * 10_000_000, "x" * 100),
            ("", "PermanentError"),
            (TextlessError(), "TextlessError"),
        ],
        ids=["number", "NUL", "surrogate", "long", "none", "textless"],
    )
    def test_a_definite_failure_stays_one_whatever_its_code(self, code: Any, told: str) -> None:
        run = start()
        DO["pay"] = raises(PermanentError("declined", code=code))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["is_due", "pay"]
        assert pay_of(run) == (StepState.FAILED, False, told)

    @pytest.mark.parametrize(
        "error", [TextlessError(), KeyError("a\x00\ud800"), ValueError("x" * 10_000_000)], ids=type
    )
    def test_any_error_can_be_told(self, error: Exception) -> None:
        run = start()
        DO["pay"] = raises(error)
        assert drive(run).state == SagaState.COMPENSATED
        assert pay_of(run) == (StepState.FAILED, False, type(error).__name__)
        assert 0 < len(step_of(run, "pay").error.encode()) <= MAX_ERROR_LENGTH

    @pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()], ids=type)
    def test_an_error_that_is_no_exception_is_an_outcome_at_once_and_in_doubt(
        self, error: BaseException
    ) -> None:
        run = start()
        DO["pay"] = raises(error)
        run_one(run)
        assert pay_of(run) == (StepState.READY, True, type(error).__name__)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "refund(None)"

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=type)
    def test_an_error_that_ends_the_process_goes_through_and_the_attempt_is_missed_soon(
        self, error: BaseException
    ) -> None:
        run = start()
        DO["pay"] = raises(error)
        with pytest.raises(type(error)):
            run_one(run)
        row = step_of(run, "pay")
        assert row.lease_until is not None
        assert row.started_at is not None
        assert (row.lease_until - row.started_at).total_seconds() < 5


class TestAnotherReleasesData:
    """What is stored does not fit this code: the step waits for code that it fits."""

    def test_an_input_that_does_not_fit_is_no_failure(self) -> None:
        run = start()
        REFUSED.add(1)
        assert drive(run).state == SagaState.RUNNING
        row = step_of(run, "pay")
        assert (row.state, row.attempt, row.in_doubt) == (StepState.READY, 0, False)
        assert "the input of tests.Paying cannot be loaded as Receipt" in row.error
        assert CALLS == []
        REFUSED.clear()
        assert drive(run).state == SagaState.COMPLETED

    def test_an_input_that_does_not_fit_is_no_failure_of_an_undo_either(self) -> None:
        run = start()
        DO["ship"] = raises(PermanentError("no stock"))
        run_one(run)
        run_one(run)
        REFUSED.add(5)
        assert drive(run).state == SagaState.COMPENSATING
        undo = step_of(run, "pay", direction="backward")
        assert (undo.state, undo.attempt) == (StepState.READY, 0)
        assert "the result of pay of tests.Paying" in undo.error
        REFUSED.clear()
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "refund(5)"

    def test_a_result_that_a_handler_asks_for_is_waited_for_in_doubt(self) -> None:
        run = start()
        DO["ship"] = lambda saga: saga.pay.result
        run_one(run)
        REFUSED.add(5)
        assert drive(run).state == SagaState.RUNNING
        row = step_of(run, "ship")
        assert (row.state, row.attempt, row.in_doubt) == (StepState.READY, 0, True)
        REFUSED.clear()
        assert drive(run).state == SagaState.COMPLETED

    def test_a_result_that_is_read_before_a_handler_began_leaves_no_doubt(self) -> None:
        run = start(InOne)
        run_one(run)
        run_one(run)
        DO["is_bookable"] = lambda saga: saga.pay.result
        REFUSED.add(5)
        assert drive(run).state == SagaState.RUNNING
        row = step_of(run, "book")
        assert (row.state, row.attempt, row.in_doubt) == (StepState.READY, 0, False)

    def test_a_handler_may_do_without_a_result_that_does_not_fit(self) -> None:
        run = start()

        def ship(saga: Paying) -> None:
            with pytest.raises(SagaError):
                _ = saga.pay.result

        DO["ship"] = ship
        run_one(run)
        REFUSED.add(5)
        assert drive(run).state == SagaState.COMPLETED


def test_a_reading_that_is_lost_before_the_handler_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = start()
    DO["ship"] = raises(PermanentError("no stock"))
    run_one(run)
    run_one(run)
    tries: list[int] = []
    inner = StepRun.objects.forward

    def lost_once() -> Any:
        from django.db import OperationalError  # noqa: PLC0415

        if not tries:
            tries.append(1)
            raise OperationalError("gone")
        return inner()

    monkeypatch.setattr(StepRun.objects, "forward", lost_once)
    run_one(run)
    assert StepRun.objects.get(run=run, direction="backward").attempt == 1
    assert CALLS[-1] == "refund(5)"
    assert StepRun.objects.filter(run=run, fence=F("attempt")).exists()
