"""The order of undoing, and what a resumed plan looks like (R39, R77)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.engine.decisions import replan, undo_order


@dataclass(eq=False)
class Row:
    """What undo_order looks at."""

    pk: int
    position: int
    ended_at: datetime | None
    successors: list[str] = field(default_factory=list)


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@st.composite
def graphs(draw: st.DrawFn) -> list[Row]:
    """Steps that wait for earlier ones, with clocks that stand still or go backwards."""
    size = draw(st.integers(0, 12))
    moments = st.one_of(
        st.none(), st.integers(-3, 3).map(lambda second: NOON + timedelta(seconds=second))
    )
    rows = [Row(pk=n, position=n, ended_at=draw(moments)) for n in range(size)]
    for row in rows:
        later = [str(other.pk) for other in rows[row.pk + 1 :]]
        row.successors = draw(st.lists(st.sampled_from(later), unique=True)) if later else []
    return draw(st.permutations(rows))


def descendants(rows: list[Row]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for row in sorted(rows, key=lambda row: -row.pk):
        direct = {int(pk) for pk in row.successors}
        found[row.pk] = direct.union(*(found[pk] for pk in direct))
    return found


@dataclass(eq=False)
class Step:
    """What replan looks at."""

    pk: str
    state: str
    successors: list[str]
    critical: bool = True
    detached: bool = False


class TestReplan:
    def places(self, *steps: Step) -> dict[str, tuple[str, int]]:
        return {pk: (str(p.state), p.pending_predecessors) for pk, p in replan(steps).items()}

    def test_the_failed_step_is_ready_and_what_follows_waits_for_it(self) -> None:
        places = self.places(
            Step("a", "succeeded", ["b"]), Step("b", "failed", ["c"]), Step("c", "cancelled", [])
        )
        assert places == {"b": ("ready", 0), "c": ("pending", 1)}

    def test_a_best_effort_step_that_ended_holds_nothing_up(self) -> None:
        for state in ("failed", "unknown", "succeeded"):
            best_effort = Step("a", state, ["b"], critical=False)
            assert self.places(best_effort, Step("b", "pending", [])) == {"b": ("ready", 0)}

    def test_a_step_that_never_started_is_in_the_plan(self) -> None:
        best_effort = Step("a", "cancelled", ["b"], critical=False)
        places = self.places(best_effort, Step("b", "cancelled", []))
        assert places == {"a": ("ready", 0), "b": ("pending", 1)}

    @pytest.mark.parametrize("state", ["running", "waiting"])
    def test_what_is_in_flight_stays_there(self, state: str) -> None:
        places = self.places(Step("a", state, ["b"]), Step("b", "pending", []))
        assert places == {"a": (state, 0), "b": ("pending", 1)}

    def test_when_all_is_done_nothing_is_left(self) -> None:
        assert self.places(Step("a", "succeeded", ["b"]), Step("b", "skipped", [])) == {}

    @given(rows=graphs(), data=st.data())
    def test_each_counter_is_the_number_of_predecessors_that_are_not_done(
        self, rows: list[Row], data: st.DataObject
    ) -> None:
        names = st.sampled_from(["succeeded", "skipped", "failed", "unknown", "cancelled", "ready"])
        steps = [
            Step(str(row.pk), data.draw(names), row.successors, data.draw(st.booleans()))
            for row in rows
        ]
        places = replan(steps)
        for pk, place in places.items():
            waits_for = [s.pk for s in steps if pk in s.successors and s.pk in places]
            assert place.pending_predecessors == len(waits_for)
            assert place.state == ("pending" if waits_for else "ready")
        assert not places or "ready" in {place.state for place in places.values()}


class TestUndoOrder:
    @given(rows=graphs())
    def test_no_step_is_undone_before_one_that_depends_on_it(self, rows: list[Row]) -> None:
        ordered = undo_order(rows)
        place = {row.pk: n for n, row in enumerate(ordered)}
        for before, later in descendants(rows).items():
            assert all(place[pk] < place[before] for pk in later)

    @given(rows=graphs())
    def test_every_step_is_there_once(self, rows: list[Row]) -> None:
        assert sorted(row.pk for row in undo_order(rows)) == sorted(row.pk for row in rows)

    @given(rows=graphs())
    def test_the_order_does_not_depend_on_how_they_were_read(self, rows: list[Row]) -> None:
        in_order = sorted(rows, key=lambda row: row.pk)
        assert undo_order(rows) == undo_order(in_order)

    @given(order=st.permutations(range(6)))
    def test_of_independent_steps_the_last_to_end_is_undone_first(self, order: list[int]) -> None:
        rows = [
            Row(pk=n, position=n, ended_at=NOON + timedelta(microseconds=end))
            for n, end in enumerate(order)
        ]
        ends = [order[row.pk] for row in undo_order(rows)]
        assert ends == sorted(order, reverse=True)

    def test_of_those_that_ended_in_one_instant_the_last_declared_is_first(self) -> None:
        rows = [Row(pk=n, position=n, ended_at=NOON) for n in range(4)]
        assert [row.pk for row in undo_order(rows)] == [3, 2, 1, 0]

    def test_a_row_of_steps_is_undone_in_reverse_although_the_clock_went_backwards(self) -> None:
        rows = [
            Row(pk=n, position=n, ended_at=NOON - timedelta(hours=n), successors=[str(n + 1)])
            for n in range(4)
        ]
        assert [row.pk for row in undo_order(rows)] == [3, 2, 1, 0]
