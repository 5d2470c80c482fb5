"""A rewind keeps the steps that ``plan()`` gave to a run, and gives them what the corrected input binds."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sagas import Saga, start_saga, step
from sagas.definitions import PlanItem
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, rewind_saga
from sagas.states import SagaState
from tests.driving import drive, fresh, run_one, step_of
from tests.planned import CALLS, Dispatch, Line, Order


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

BOOKS = Order([Line("book", 2), Line("pen")])
LONGEST = "x" * (100 - len("ship_line[]"))


@dataclass(frozen=True)
class Trip:
    """Where to, and what is wrong with its plan."""

    hotels: list[str] = field(default_factory=list)
    flight: int = 1
    in_turn: bool = False
    raises: str = ""


class Travel(Saga[Trip]):
    """A flight beside hotels."""

    class Meta:
        label = "tests.RewindTravel"

    @step(after=[])
    def fly(self, number: int) -> int:
        CALLS.append(f"fly {number}")
        return number

    @fly.compensation
    def stay(self, number: int | None) -> None:
        CALLS.append(f"stay {number}")

    @step(after=[])
    def book(self, hotel: str) -> str:
        CALLS.append(f"book {hotel}")
        return hotel

    @book.compensation
    def cancel(self, hotel: str | None) -> None:
        CALLS.append(f"cancel {hotel} {self.undoing.input}")

    @classmethod
    def plan(cls, trip: Trip) -> Iterator[PlanItem]:
        if trip.raises:
            raise ZeroDivisionError(trip.raises)
        fly = cls.fly.bind(trip.flight)
        yield fly
        for place, hotel in enumerate(trip.hotels):
            after = [fly] if trip.in_turn else []
            yield cls.book.bind(hotel, name=f"book[{place}]", after=after)


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CALLS.clear()


def dispatched(done: int = 4) -> SagaRun:
    run = start_saga(Dispatch, BOOKS, key="k")
    for _ in range(done):
        run_one(run)
    CALLS.clear()
    return fresh(run)


def travelled(trip: Trip) -> SagaRun:
    run = drive(start_saga(Travel, trip, key="t"))
    CALLS.clear()
    return run


def refused(run: SagaRun, to: str, value: object, match: str) -> None:
    before = [*SagaRun.objects.values(), *StepRun.objects.values()]
    with pytest.raises(ActionNotAllowed, match=match):
        rewind_saga(run, to=to, input=value, reason="wrong")
    assert [*SagaRun.objects.values(), *StepRun.objects.values()] == before


class TestTheSamePlan:
    def test_what_was_undone_is_done_anew_with_what_the_corrected_input_binds(self) -> None:
        run = dispatched()
        rewind_saga(
            run, to="ship_line[book]", input=Order([Line("book", 7), Line("pen")]), reason="x"
        )
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == [
            "call back 2 book: ship_line[book] of 2",
            "ship book of 2",
            "bill 7 book, 1 pen",
        ]
        assert step_of(run, "ship_line[book]").input == {"sku": "book", "quantity": 7}
        assert step_of(run, "ship_line[book]~1").input == {"sku": "book", "quantity": 2}

    def test_a_step_that_had_not_begun_is_given_it_too(self) -> None:
        run = dispatched(done=2)
        rewind_saga(
            run, to="reserve", input=Order([Line("book", 2), Line("pen", 5)]), reason="wrong"
        )
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "bill").output == ["2 book", "5 pen"]
        assert not StepRun.objects.filter(name="ship_line[pen]~1").exists()

    def test_without_an_input_nothing_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = travelled(Trip(["Ritz"]))
        monkeypatch.setattr(Travel, "plan", None)
        rewind_saga(run, to="book[0]", reason="once more")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["cancel Ritz Ritz", "book Ritz"]

    def test_a_rewind_that_was_given_up_leaves_the_inputs(self) -> None:
        run = travelled(Trip(["Ritz"]))
        rewind_saga(run, to="book[0]", input=Trip(["Savoy"]), reason="wrong")
        cancel_saga(fresh(run), reason="no")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["cancel Ritz Ritz", "stay 1"]
        assert step_of(run, "book[0]").input == "Ritz"

    def test_the_longest_name_has_room_for_its_lives(self) -> None:
        run = drive(start_saga(Dispatch, Order([Line(LONGEST)]), key="k"))
        SagaRun.objects.filter(pk=run.pk).update(
            rewinds=[{"to": "bill", "input": run.input, "version": 1}] * 9998
        )
        rewind_saga(fresh(run), to=f"ship_line[{LONGEST}]", reason="wrong")
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, f"ship_line[{LONGEST}]~9999").rewind == 9999


class TestRefusals:
    def test_steps_that_the_run_does_not_have(self) -> None:
        more = Order([Line("book", 2), Line("ink")], gift=True)
        refused(
            dispatched(),
            "reserve",
            more,
            r"another plan, with ship_line\[ink\], wrap, seal and without ship_line\[pen\]: start",
        )

    def test_another_order(self) -> None:
        run = travelled(Trip(["Ritz"]))
        refused(run, "fly", Trip(["Ritz"], in_turn=True), "another plan, at fly: start a saga")

    def test_what_stands_would_have_been_given_something_else(self) -> None:
        run = travelled(Trip(["Ritz"]))
        refused(run, "book[0]", Trip(["Savoy"], flight=2), "another input to fly, which would")

    def test_no_plan(self) -> None:
        run = travelled(Trip(["Ritz"]))
        refused(run, "fly", Trip(raises="bug"), "makes no plan: plan.. raised ZeroDivisionError")
        refused(dispatched(), "reserve", Order([Line("a"), Line("a")]), "makes no plan: .* twice")
