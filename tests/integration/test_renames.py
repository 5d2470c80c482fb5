"""Rows that code of before has written, run by code that calls a step otherwise (R9)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import current_app

from sagas import PermanentError, Saga, Wait, start_saga, step
from sagas.definitions import registry
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import complete_step, retry_step, skip_step
from sagas.states import SagaState, StepState
from sagas.worker import tasks
from tests.driving import drive, fresh, run_one, states, step_of


pytestmark = pytest.mark.django_db(transaction=True)

BOOK: list[str] = []


def tell(what: str) -> str:
    BOOK.append(what)
    return what


def first() -> type[Saga[str]]:
    """The release that starts them; the input says what goes wrong."""

    class Pays(Saga[str]):
        class Meta:
            label = "tests.Pays"

        @step
        def charge(self) -> str:
            if self.input == "waits":
                raise Wait
            return tell("charge")

        @charge.compensation(queue="slow")
        def refund_charge(self, charged: str | None) -> None:
            tell(f"refund_charge({charged})")

        @step
        def ship(self) -> str:
            return tell(f"ship({self.charge.result})")

        ship.no_compensation("it is the last")

    return Pays


def second() -> type[Saga[str]]:
    """``charge`` is ``pay``, its compensation has another name, and so does its queue."""

    class Pays(Saga[str]):
        class Meta:
            label = "tests.Pays"

        @step(formerly="charge")
        def pay(self) -> str:
            if self.input == "waits":
                raise Wait
            return tell("pay")

        @pay.compensation(queue="fast")
        def refund(self, paid: str | None) -> None:
            if self.input == "sticks" and self.attempt == 1:
                message = "no"
                raise PermanentError(message)
            tell(f"refund({paid}) of {self.undoing.name} after {self.run.failed_step}")

        @step
        def ship(self) -> str:
            if self.input in {"fails", "sticks"}:
                message = "no"
                raise PermanentError(message)
            return tell(f"ship({self.pay.result})")

        ship.no_compensation("it is the last")

    return Pays


@contextmanager
def release(make: Any) -> Iterator[type[Saga[str]]]:
    with registry.isolated():
        yield make()


@pytest.fixture(autouse=True)
def _new_book() -> None:
    BOOK.clear()


def started(text: str, *, steps: int = 0) -> SagaRun:
    with release(first) as saga:
        run = start_saga(saga, text, key=text)
        for _ in range(steps):
            run_one(run)
    return run


class TestRowsOfAnOlderName:
    def test_go_forward(self, messages: list[str]) -> None:
        run = started("order")
        with release(second):
            assert drive(run).state == SagaState.COMPLETED
        assert BOOK == ["pay", "ship(pay)"]
        assert messages == ["sagas.tests.Pays.charge", "sagas.tests.Pays.ship"]
        assert set(states(run)) == {"charge", "ship"}

    def test_give_their_results_to_later_steps_and_to_the_undo(self) -> None:
        run = started("fails", steps=1)
        with release(second):
            assert drive(run).state == SagaState.COMPENSATED
        assert BOOK == ["charge", "refund(charge) of pay after ship"]

    def test_are_sent_to_the_queue_of_today(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[Any] = []
        monkeypatch.setattr("sagas.engine.dispatch._publisher.publish", sent.append)
        run = started("fails", steps=1)
        with release(second):
            drive(run)
        assert [
            message.destination["queue"]
            for message in sent
            if message.task == "sagas.tests.Pays.charge.compensate"
        ] == ["fast"]

    def test_are_answered_by_the_new_name_and_the_old(self) -> None:
        for name in ("pay", "charge"):
            SagaRun.objects.all().delete()
            run = started("waits", steps=1)
            assert step_of(run, "charge").state == StepState.WAITING
            with release(second):
                complete_step(run, name, result="by bank", reason="told")
                drive(run)
            assert BOOK[-1] == "ship(by bank)"

    def test_are_settled_by_the_new_name(self) -> None:
        run = started("order")
        with release(second):
            skip_step(run, "pay", result="by hand", reason="paid in cash")
            drive(run)
        assert BOOK == ["ship(by hand)"]

    def test_have_their_compensation_tried_again_by_the_new_name(self) -> None:
        run = started("sticks", steps=1)
        with release(second):
            assert drive(run).state == SagaState.DEAD_LETTER
            retry_step(run, "pay", reason="the bank is there again")
            StepRun.objects.filter(run=run, direction="backward").update(attempt=1)
            assert drive(run).state == SagaState.COMPENSATED
        assert BOOK == ["charge", "refund(charge) of pay after ship"]

    def test_a_name_that_nothing_has_is_refused(self) -> None:
        run = started("order")
        with release(second), pytest.raises(ActionNotAllowed, match="it has charge, ship"):
            skip_step(run, "bill", reason="typo")


class TestRowsOfTheNewName:
    def test_are_what_new_runs_have_and_are_found_by_the_old_name(self) -> None:
        with release(second) as saga:
            run = start_saga(saga, "order", key="order")
            assert set(states(run)) == {"pay", "ship"}
            skip_step(run, "charge", result="by an old runbook", reason="as it says")
            drive(run)
        assert BOOK == ["ship(by an old runbook)"]
        assert fresh(run).state == SagaState.COMPLETED


class TestMessagesOfAnOlderName:
    def test_find_a_task(self) -> None:
        with release(second) as saga:
            tasks.register_step_tasks(saga.definition)
            current_app.finalize()
            for name in ("pay", "charge"):
                assert f"sagas.tests.Pays.{name}" in current_app.tasks
                assert f"sagas.tests.Pays.{name}.compensate" in current_app.tasks
