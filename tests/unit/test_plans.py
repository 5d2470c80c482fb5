"""``plan(cls, input)``: which rows a run gets, in what order, and what is refused (R10, R11)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sagas import Saga, step
from sagas.definitions import PlanItem, registry
from sagas.exceptions import PayloadError, PlanError, SagaDefinitionError


@dataclass(frozen=True)
class Order:
    """An order of some lines; ``shape`` says which plan."""

    lines: list[int] = field(default_factory=list)
    shape: str = ""


@dataclass(frozen=True)
class Lines:
    """A part of an order."""

    lines: list[int]


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    """Sagas declared in a test are forgotten."""
    with registry.isolated():
        yield


class Pack(Saga[Lines]):
    """Another saga, two steps in a row."""

    class Meta:
        label = "tests.Pack"

    @step
    def wrap(self) -> None: ...

    wrap.no_compensation("a test")

    @step
    def seal(self) -> None: ...

    seal.no_compensation("a test")


Plan = Callable[[type["Fulfil"], Order], Iterable[Any]]


class Fulfil(Saga[Order]):
    """reserve → {charge ∥ ship_line...} → tell → archive, as its ``plans`` say."""

    plans: Plan

    class Meta:
        label = "tests.Fulfil"

    @step
    def reserve(self) -> None: ...

    reserve.no_compensation("a test")

    @step(after=[reserve])
    def charge(self) -> None: ...

    charge.no_compensation("a test")

    @step(after=[reserve])
    def ship_line(self, line: int) -> int:
        return line

    ship_line.no_compensation("a test")

    @step(after=[charge, ship_line])
    def tell(self) -> None: ...

    tell.no_compensation("a test")

    @step
    def archive(self) -> None: ...

    archive.no_compensation("a test")

    @classmethod
    def plan(cls, input: Order) -> Iterable[PlanItem]:  # noqa: A002 the word of the contract
        return cls.plans(input)  # type: ignore[call-arg, arg-type]


def planned(plans: Callable[[Order], Iterable[Any]], **order: Any) -> dict[str, list[str]]:
    """Return, by the name of each row, what it waits for."""
    Fulfil.plans = staticmethod(plans)  # type: ignore[assignment]
    steps = Fulfil.definition.plan_for(Order(**order)).steps
    before: dict[str, list[str]] = {one.name: [] for one in steps}
    for one in steps:
        for place in one.successors:
            before[steps[place].name].append(one.name)
    assert {one.name: one.pending_predecessors for one in steps} == {
        name: len(names) for name, names in before.items()
    }
    return before


def line(number: int, **options: Any) -> Any:
    return Fulfil.ship_line.bind(number, name=f"ship_line[{number}]", **options)


def by_lines(order: Order) -> Iterator[PlanItem]:
    yield Fulfil.reserve
    yield Fulfil.charge
    yield from (line(number) for number in order.lines)
    yield Fulfil.tell


class TestPlaces:
    def test_two_inputs_give_two_plans(self) -> None:
        assert list(planned(by_lines, lines=[1])) == ["reserve", "charge", "ship_line[1]", "tell"]
        assert list(planned(by_lines)) == ["reserve", "charge", "tell"]

    def test_repetitions_run_side_by_side_and_what_follows_joins_over_all(self) -> None:
        assert planned(by_lines, lines=[1, 2]) == {
            "reserve": [],
            "charge": ["reserve"],
            "ship_line[1]": ["reserve"],
            "ship_line[2]": ["reserve"],
            "tell": ["charge", "ship_line[1]", "ship_line[2]"],
        }

    def test_a_step_follows_the_predecessors_of_one_that_is_left_out(self) -> None:
        only = planned(lambda _: [Fulfil.reserve, Fulfil.archive])
        assert only == {"reserve": [], "archive": ["reserve"]}

    def test_what_stands_first_after_all_is_left_out_begins_at_once(self) -> None:
        assert planned(lambda _: [Fulfil.archive]) == {"archive": []}

    def test_bind_says_another_place(self) -> None:
        def in_a_row(order: Order) -> Iterator[PlanItem]:
            before: list[Any] = []
            for number in order.lines:
                bound = line(number, after=before)
                yield bound
                before = [bound]
            yield Fulfil.reserve.bind(after=[Fulfil.ship_line])

        assert planned(in_a_row, lines=[1, 2, 3]) == {
            "ship_line[1]": [],
            "ship_line[2]": ["ship_line[1]"],
            "ship_line[3]": ["ship_line[2]"],
            "reserve": ["ship_line[1]", "ship_line[2]", "ship_line[3]"],
        }

    def test_the_plan_as_given_is_the_declared_one(self) -> None:
        class Plain(Saga[Order]):
            @step
            def one(self) -> None: ...

            one.no_compensation("a test")

        assert [*Plain.plan(Order())] == [Plain.one]
        assert Plain.definition.plan_for(Order()) is Plain.definition.plan

    def test_super_has_all_steps(self) -> None:
        class More(Pack):
            @step
            def stamp(self) -> None: ...

            stamp.no_compensation("a test")

            @classmethod
            def plan(cls, input: Lines) -> Iterable[PlanItem]:  # noqa: A002
                return [each for each in super().plan(input) if each is not cls.seal]

        steps = More.definition.plan_for(Lines([])).steps
        assert [one.name for one in steps] == ["wrap", "stamp"]


class TestGroups:
    def test_a_group_stands_where_it_is_yielded(self) -> None:
        def plan(order: Order) -> Iterator[PlanItem]:
            yield Fulfil.reserve
            yield Fulfil.charge
            yield line(1)
            yield Fulfil.tell
            yield Pack
            yield Fulfil.archive

        assert planned(plan) == {
            "reserve": [],
            "charge": ["reserve"],
            "ship_line[1]": ["reserve"],
            "tell": ["charge", "ship_line[1]"],
            "wrap": ["tell"],
            "seal": ["wrap"],
            "archive": ["seal"],
        }

    def test_a_group_follows_all_repetitions_that_stand_above_it(self) -> None:
        before = planned(lambda _: [line(1), line(2), Pack])
        assert before["wrap"] == ["ship_line[1]", "ship_line[2]"]

    def test_a_step_that_says_after_does_not_wait_for_the_group_above(self) -> None:
        before = planned(lambda _: [Fulfil.reserve, Pack, Fulfil.charge])
        assert (before["wrap"], before["charge"]) == (["reserve"], ["reserve"])

    def test_a_step_can_be_placed_behind_one_of_a_group(self) -> None:
        behind = Fulfil.charge.bind(after=[Pack.wrap])
        assert planned(lambda _: [Fulfil.reserve, Pack, behind])["charge"] == ["wrap"]

    def test_its_rows_say_which_saga_declares_them(self) -> None:
        Fulfil.plans = staticmethod(lambda _: [Fulfil.reserve, Pack])  # type: ignore[assignment]
        steps = Fulfil.definition.plan_for(Order()).steps
        assert [one.options.get("saga") for one in steps] == [None, "tests.Pack", "tests.Pack"]

    def test_a_group_may_take_in_another_by_its_own_plan(self) -> None:
        class Crate(Saga[Lines]):
            class Meta:
                label = "tests.Crate"

            @classmethod
            def plan(cls, input: Lines) -> Iterable[PlanItem]:  # noqa: A002
                return [Pack] if input.lines else []

        assert planned(lambda _: [Fulfil.reserve, Crate, Fulfil.archive], lines=[1]) == {
            "reserve": [],
            "wrap": ["reserve"],
            "seal": ["wrap"],
            "archive": ["seal"],
        }
        empty = planned(lambda _: [Fulfil.reserve, Crate, Fulfil.archive])
        assert empty == {"reserve": [], "archive": ["reserve"]}

    def test_a_saga_whose_input_does_not_fit_is_refused(self) -> None:
        class Other(Saga[int]):
            @step
            def count(self) -> None: ...

            count.no_compensation("a test")

        with pytest.raises(PlanError, match=r"tests\.Fulfil: .*Other cannot be a part of it"):
            planned(lambda _: [Other])

    def test_a_saga_does_not_take_itself_in(self) -> None:
        with pytest.raises(PlanError, match="takes in Fulfil, which is abstract, or itself"):
            planned(lambda _: [Fulfil])

    def test_a_saga_with_a_problem_is_no_group(self) -> None:
        class Mute(Saga[Order]):
            @step
            def silent(self) -> None: ...

        with pytest.raises(PlanError, match="says nothing about how it is undone"):
            planned(lambda _: [Mute])


def endless(order: Order) -> Iterator[PlanItem]:
    number = 0
    while True:
        yield line(number)
        number += 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("plan", "complaint"),
        [
            (lambda _: [], "yields no step"),
            (lambda _: None, "returns None; let it yield steps"),
            (lambda _: "reserve", "returns 'reserve'"),
            (lambda _: ["reserve"], "yields 'reserve'; it yields steps"),
            (lambda _: [Order], "yields <class"),
            (lambda _: [Fulfil.reserve, Fulfil.reserve], "yields 'reserve' twice"),
            (lambda _: [line(1), line(1)], r"'ship_line\[1\]' twice; name each repetition"),
            (lambda _: [Pack, Pack], "'wrap' twice; tests.Pack and tests.Pack both have it"),
            (lambda _: [Fulfil.ship_line], r"is given none; yield cls\.ship_line\.bind\(value\)"),
            (
                lambda _: [Fulfil.ship_line.bind(1, name="ship_line[1]~1")],
                "is no name of ship_line",  # but of a life that a rewind ended
            ),
            (lambda _: [Fulfil.ship_line.bind(1, name="ship_line~1")], "is no name of ship_line"),
            (
                lambda _: [Fulfil.ship_line.bind(1, name="line")],
                r"'line' is no name of ship_line; use ship_line\[\.\.\.\]",
            ),
            (lambda _: [Fulfil.ship_line.bind(1, name="ship_line[]")], "no name of ship_line"),
            (lambda _: [Fulfil.ship_line.bind(1, name="ship_line[\0]")], "no name of ship_line"),
            (lambda _: [Fulfil.ship_line.bind(1, name="ship_line[1")], "no name of ship_line"),
            (lambda _: [line("1" * 90)], "longer than 100 characters"),  # type: ignore[arg-type]
            (lambda _: [Pack.wrap], "yields Pack.wrap, which is not a step of Fulfil"),
            (endless, "more than 10,000 steps"),
            (
                lambda _: [Fulfil.reserve.bind(after=[Fulfil.charge]), Fulfil.charge],
                r"wait for each other: .*reserve",
            ),
            (lambda _: [Fulfil.reserve.bind(after=[Pack.wrap])], "Pack.wrap, which is not in"),
            (lambda _: [Fulfil.reserve.bind(after=[line(1)])], "which plan.. does not yield"),
        ],
    )
    def test_a_plan_that_cannot_be_a_run(self, plan: Any, complaint: str) -> None:
        with pytest.raises(PlanError, match=complaint) as refused:
            planned(plan)
        assert refused.value.code == "PLAN"
        assert str(refused.value).startswith("tests.Fulfil: ")

    def test_an_input_of_another_type(self) -> None:
        with pytest.raises(PayloadError, match=r"input of ship_line\[x\] of tests\.Fulfil"):
            planned(lambda _: [line("x")])  # type: ignore[arg-type]

    def test_too_many_pairs(self) -> None:
        def many(order: Order) -> Iterator[PlanItem]:
            yield from (line(number) for number in range(1000))
            for number in range(1000, 2000):
                yield line(number, after=[Fulfil.ship_line])

        with pytest.raises(PlanError, match=r"wait for each other: |pairs of steps"):
            planned(many)

    def test_a_place_that_is_no_list_of_steps(self) -> None:
        with pytest.raises(SagaDefinitionError, match="is a list of steps"):
            Fulfil.reserve.bind(after=["charge"])  # type: ignore[list-item]

    @pytest.mark.parametrize("method", [lambda self, given: [], staticmethod(lambda given: [])])
    def test_plan_is_a_classmethod_of_the_input(self, method: Any) -> None:
        with pytest.raises(SagaDefinitionError, match=r"plan is a classmethod"):
            type("Odd", (Pack,), {"plan": method})

    def test_plan_takes_the_input_alone(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"\(cls, input\)"):
            type("Odd", (Pack,), {"plan": classmethod(lambda cls: [])})


class Ship(Saga[Order]):
    """confirm is the point of no return, and nothing undoes what is behind it."""

    @step(compensable_until="confirm")
    def reserve(self) -> None: ...

    @reserve.compensation
    def release(self, _: None) -> None: ...

    @step(pivot=True)
    def confirm(self) -> None: ...

    @step
    def send(self) -> None: ...

    @classmethod
    def plan(cls, input: Order) -> Iterable[PlanItem]:  # noqa: A002
        if input.shape == "no pivot":
            return [cls.reserve, cls.send]
        if input.shape == "behind":
            return [cls.confirm.bind(after=[]), cls.reserve.bind(after=[cls.confirm]), cls.send]
        if input.shape == "beside":
            return [cls.reserve, cls.confirm.bind(after=[]), cls.send]
        return [cls.reserve, cls.confirm, cls.send]


class TestPivot:
    def test_the_rules_hold_for_the_plan_of_the_run(self) -> None:
        assert len(Ship.definition.plan_for(Order()).steps) == 3

    @pytest.mark.parametrize(
        ("shape", "complaint"),
        [
            ("no pivot", "send says nothing about how it is undone"),
            ("behind", "reserve comes after pivot confirm, so its compensation never runs"),
            ("beside", "reserve is compensable until confirm, which is not after it"),
        ],
    )
    def test_a_plan_that_breaks_one_is_refused(self, shape: str, complaint: str) -> None:
        with pytest.raises(PlanError, match=complaint):
            Ship.definition.plan_for(Order(shape=shape))


class TestResultsInAUnitTest:
    def test_repetitions_are_given_by_their_names(self) -> None:
        saga = Fulfil(Order(), results={"ship_line[1]": 1, "ship_line[2]": 2})
        assert saga.ship_line.results == [1, 2]
        with pytest.raises(Exception, match=r"ask self\.ship_line\.results"):
            saga.ship_line.result  # noqa: B018
