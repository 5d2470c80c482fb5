"""A step may have an input of its own: asked once, kept, and the same on every attempt (R6)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sagas import OutcomeUnknown, PermanentError, Saga, SagaError, start_saga, step
from sagas.definitions import registry
from sagas.engine.advance import end_lost_attempt
from sagas.exceptions import SagaDefinitionError
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga
from tests.driving import drive, expire_lease, fresh, run_one, states, step_of


pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Parcel:
    """What a step is given."""

    number: int
    to: str


@dataclass(frozen=True)
class Order:
    """The input of the saga, with what goes wrong."""

    fault: str = ""
    in_stock: bool = True


@dataclass
class World:
    """What the outside world has seen, in order."""

    asked: int = 0
    given: list[Any] = field(default_factory=list)
    stored: list[Any] = field(default_factory=list)
    undone: list[Any] = field(default_factory=list)


world = World()


@pytest.fixture(autouse=True)
def _new_world(messages: list[str]) -> Iterator[None]:
    """Each test has a world of its own; messages are collected, not sent."""
    world.__init__()  # type: ignore[misc]
    with registry.isolated():
        registry.register(Send)
        registry.register(Book)
        yield


def stored_input(saga: Saga[Any]) -> Any:
    """What the database has of the input of the step that runs now."""
    return StepRun.objects.get(run_id=saga.run.id, state="running").input


class Send(Saga[Order]):
    """A parcel is packed, sent, and told of."""

    class Meta:
        label = "tests.Send"
        key = "send"
        step_defaults = {"max_retries": 2, "retry_jitter": False}

    @step
    def pack(self) -> str:
        return "Basel"

    @pack.compensation
    def unpack(self, _: str | None) -> None:
        world.undone.append("pack")

    @step
    def send(self, parcel: Parcel) -> int:
        world.given.append(parcel)
        world.stored.append(stored_input(self))
        if self.input.fault == "network" and self.attempt == 1:
            raise ConnectionError
        if self.input.fault == "unknown":
            raise OutcomeUnknown("nobody knows")
        return parcel.number

    @send.inputs
    def parcel(self) -> Parcel:
        world.asked += 1
        if self.input.fault == "inputs":
            raise PermanentError("no address", code="NO_ADDRESS")
        if self.input.fault == "inputs network":
            raise ConnectionError
        if self.input.fault == "type":
            return "Basel"  # type: ignore[return-value]
        if self.input.fault == "cancel":
            cancel_saga(SagaRun.objects.get(pk=self.run.id), reason="meanwhile")
            expire_lease(StepRun.objects.get(run_id=self.run.id, state="running").pk)
            end_lost_attempt(StepRun.objects.get(run_id=self.run.id, state="running"))
        return Parcel(world.asked, self.pack.result)

    @send.condition
    def is_in_stock(self, parcel: Parcel) -> bool:
        return self.input.in_stock and parcel.to == "Basel"

    @send.reconcile
    def find(self, parcel: Parcel) -> int | None:
        world.given.append(("find", parcel))
        return parcel.number

    @send.compensation
    def recall(self, number: int | None) -> None:
        world.undone.append((number, self.undoing.input))

    @step
    def tell(self) -> None:
        if self.input.fault == "tell":
            raise PermanentError("no")

    tell.no_compensation("a word is no harm")


class Book(Saga[Order]):
    """One atomic step with an input."""

    class Meta:
        label = "tests.Book"
        key = "book"
        step_defaults = {"max_retries": 2, "retry_jitter": False}

    @step(atomic=True)
    def book(self, amount: int) -> int:
        world.given.append(amount)
        if self.attempt == 1 and self.input.fault:
            raise ConnectionError
        return amount

    @book.inputs
    def amount(self) -> int:
        world.asked += 1
        return world.asked

    book.no_compensation("a test")


class TestStepInputs:
    def test_it_is_stored_before_the_handler_begins_and_is_what_the_handler_gets(self) -> None:
        run = drive(start_saga(Send, Order()))
        assert run.is_completed
        assert world.given == [Parcel(1, "Basel")]
        assert world.stored == [{"number": 1, "to": "Basel"}]
        assert step_of(run, "send").input == {"number": 1, "to": "Basel"}

    def test_it_is_the_same_on_every_attempt(self) -> None:
        run = drive(start_saga(Send, Order("network")))
        assert run.is_completed
        assert world.given[0] == world.given[-1] == Parcel(1, "Basel")
        assert world.asked == 1

    def test_a_compensation_reads_it(self) -> None:
        assert drive(start_saga(Send, Order("tell"))).is_compensated
        assert world.undone == [(1, Parcel(1, "Basel")), "pack"]

    def test_a_reconcile_may_take_it(self) -> None:
        assert drive(start_saga(Send, Order("unknown"))).is_completed
        assert world.given == [Parcel(1, "Basel"), ("find", Parcel(1, "Basel"))]

    def test_a_condition_that_takes_it_is_asked_after_it(self) -> None:
        run = drive(start_saga(Send, Order(in_stock=False)))
        assert states(run)["send"] == "skipped"
        assert world.asked == 1
        assert world.given == []

    def test_an_atomic_step_has_the_same_after_a_rollback(self) -> None:
        run = drive(start_saga(Book, Order("network")))
        assert run.is_completed
        assert world.given == [1, 1]
        assert step_of(run, "book").input == 1

    def test_an_atomic_step_keeps_it_with_its_outcome(self) -> None:
        run = drive(start_saga(Book, Order()))
        assert step_of(run, "book").input == 1

    def test_it_costs_one_statement(self) -> None:
        run = start_saga(Send, Order())
        run_one(run)
        with CaptureQueriesContext(connection) as captured:
            run_one(run, "send")
        kept = [query["sql"] for query in captured if '"prepared" = ' in query["sql"]]
        assert len(kept) == 1


class TestTroubleWithAnInput:
    @pytest.mark.parametrize(
        ("fault", "code", "asked"),
        [
            ("inputs", "NO_ADDRESS", 1),
            ("type", "PAYLOAD", 1),
            ("inputs network", "ConnectionError", 3),
        ],
    )
    def test_nothing_has_happened_so_there_is_no_doubt(
        self, fault: str, code: str, asked: int
    ) -> None:
        run = drive(start_saga(Send, Order(fault)))
        sent = step_of(run, "send")
        assert (run.state, sent.state, sent.error_code) == ("compensated", "failed", code)
        assert (sent.in_doubt, world.asked) == (False, asked)
        assert (world.given, world.undone) == ([], ["pack"])

    def test_an_attempt_that_was_given_up_meanwhile_does_not_begin(self) -> None:
        run = start_saga(Send, Order("cancel"))
        run_one(run)
        assert run_one(run, "send") == "late"
        assert drive(run).outcome == "cancelled"
        assert (world.given, world.undone) == ([], ["pack"])

    def test_a_step_that_nothing_gives_its_input_cannot_be_started(self) -> None:
        class Mute(Saga[Order]):
            @step
            def send(self, parcel: Parcel) -> None: ...

            send.no_compensation("a test")

        (problem,) = Mute.definition.problems()
        assert problem.id == "sagas.E025"
        with pytest.raises(SagaDefinitionError, match=r"Add @send\.inputs"):
            start_saga(Mute, Order(), key="k")

    def test_an_input_that_this_code_cannot_read_waits_for_code_that_can(self) -> None:
        run = start_saga(Send, Order("network"))
        run_one(run)
        run_one(run, "send")
        StepRun.objects.filter(run=run, name="send").update(input={"of": "another release"})
        StepRun.objects.filter(run=run, name="send").update(due_at=run.created_at)
        assert run_one(run, "send") == "PAYLOAD"
        row = step_of(fresh(run), "send")
        assert (row.state, row.attempt, row.error_code) == ("ready", 1, "PAYLOAD")


def test_a_unit_test_calls_it_with_its_input() -> None:
    saga = Send(Order(), results={"pack": "Basel"})
    assert saga.parcel() == Parcel(1, "Basel")
    with pytest.raises(SagaError):
        saga.send.result  # noqa: B018
