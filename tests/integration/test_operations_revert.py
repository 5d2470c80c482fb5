"""Reverting what was completed, and asking first what would be undone (R45, R49)."""

from collections.abc import Callable

import pytest

from sagas import start_saga
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    PlannedUndo,
    cancel_saga,
    compensate_saga,
    preview_compensation,
    resolve_saga,
    retry_saga,
)
from sagas.states import EventType, SagaState
from tests.begun import diamond, five
from tests.driving import claimed, drive, fresh, run_one, step_of
from tests.mild import Mild
from tests.traced import CALLS, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class TestRevert:
    def test_a_completed_saga_is_undone_in_reverse(self) -> None:
        run = five()
        reverted = compensate_saga(run, reason="returned", actor="ann", revert_completed=True)
        assert (reverted.state, reverted.completed_at) == (SagaState.COMPENSATING, None)
        run = drive(run)
        assert CALLS[5:] == [f"undo_{name}({name})" for name in "edcba"]
        assert (run.state, run.error_code, run.error) == ("compensated", "REVERTED", "returned")
        event = run.events.get(type=EventType.TURNED_BACK)
        assert (event.from_state, event.actor, event.note) == ("completed", "ann", "returned")

    def test_a_completed_saga_is_undone_only_when_that_is_said(self) -> None:
        run = five()
        with pytest.raises(ActionNotAllowed, match="possible now: revert"):
            compensate_saga(run, reason="returned")
        with pytest.raises(ActionNotAllowed, match="it is not completed"):
            compensate_saga(diamond("start"), reason="returned", revert_completed=True)
        assert fresh(run).state == SagaState.COMPLETED

    def test_a_revert_is_refused_past_the_point_of_no_return(self) -> None:
        run = drive(diamond())
        with pytest.raises(ActionNotAllowed, match="past its point of no return"):
            compensate_saga(run, reason="returned", revert_completed=True)

    def test_a_saga_is_undone_to_the_end_long_after_its_deadline(self) -> None:
        run = five()
        SagaRun.objects.filter(pk=run.pk).update(deadline=run.created_at)
        compensate_saga(run, reason="returned", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED

    def test_a_step_that_failed_is_not_undone(self) -> None:
        run = drive(start_saga(Mild, Script({"note": "permanent"}), key="mild"))
        CALLS.clear()
        compensate_saga(run, reason="returned", revert_completed=True)
        drive(run)
        assert CALLS == ["undo_tell(tell)", "undo_b(b after nothing)", "undo_a(a)"]


class TestCompensateADeadLetter:
    def test_a_dead_letter_that_was_held_before_the_pivot_is_undone(self) -> None:
        run = five(2, c="unknown")
        StepRun.objects.filter(run=run, name="c").update(options={"on_unknown": "hold"})
        run = drive(run)
        assert run.state == SagaState.DEAD_LETTER
        compensate_saga(run, reason="give it up")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[3:] == ["undo_c(None)", "undo_b(b)", "undo_a(a)"]

    def test_a_dead_letter_on_its_way_back_is_refused(self) -> None:
        run = drive(five(0, d="permanent", undo_b="permanent"))
        with pytest.raises(ActionNotAllowed, match="it has begun to undo"):
            compensate_saga(run, reason="give it up")

    def test_a_dead_letter_past_the_pivot_is_refused(self) -> None:
        run = drive(diamond(ship="permanent"))
        with pytest.raises(ActionNotAllowed, match="point of no return"):
            compensate_saga(run, reason="give it up")


def between_attempts() -> SagaRun:
    run = five(2, c="network")
    run_one(run)
    return run


def with_one_in_flight() -> SagaRun:
    run = diamond("start", "left")
    claimed(run, "right")
    return run


def held() -> SagaRun:
    run = five(2, c="unknown")
    StepRun.objects.filter(run=run, name="c").update(options={"on_unknown": "hold"})
    return drive(run)


def turn_back(run: SagaRun) -> SagaRun:
    if run.state == SagaState.COMPENSATING:
        return run
    return compensate_saga(
        run, reason="x", revert_completed=fresh(run).state == SagaState.COMPLETED
    )


PLACES: dict[str, Callable[[], SagaRun]] = {
    "nothing done": lambda: five(0),
    "two done": lambda: five(2),
    "between two attempts": between_attempts,
    "in parallel": lambda: diamond("start", "right", "left"),
    "with a skipped step": lambda: diamond("start", "right", "left", "join", wants_right="no"),
    "completed": five,
    "completed with a warning": lambda: drive(
        start_saga(Mild, Script({"note": "permanent"}), key="mild")
    ),
    "held": held,
}


class TestPreview:
    @pytest.mark.parametrize("place", PLACES)
    def test_a_preview_is_what_then_happens(self, place: str) -> None:
        run = PLACES[place]()
        preview = preview_compensation(run)
        CALLS.clear()
        turn_back(run)
        rows = list(run.steps.backward().order_by("position"))
        assert [(p.name, p.handler, p.idempotency_key) for p in preview] == [
            (row.name, row.handler, row.idempotency_key) for row in rows
        ]
        drive(run)
        assert [call.partition("(")[0] for call in CALLS] == [p.handler for p in preview]
        told = ["None" if p.outcome == "unknown" else p.name for p in preview]
        assert [call.partition("(")[2].split()[0].rstrip(")") for call in CALLS] == told

    def test_a_preview_changes_nothing(self) -> None:
        run = between_attempts()
        before = list(StepRun.objects.filter(run=run).values())
        assert preview_compensation(run) == preview_compensation(run)
        assert list(StepRun.objects.filter(run=run).values()) == before

    def test_a_step_in_flight_would_end_first_and_be_undone_then(self) -> None:
        preview = preview_compensation(with_one_in_flight())
        assert [(p.name, p.outcome) for p in preview] == [
            ("right", "in_flight"),
            ("left", "succeeded"),
            ("start", "succeeded"),
        ]

    def test_a_preview_names_the_key_that_the_outside_party_knows(self) -> None:
        run = five(1)
        row = step_of(run, "a")
        key = row.idempotency_key
        assert preview_compensation(run) == [
            PlannedUndo(
                name="a",
                handler="undo_a",
                outcome="succeeded",
                idempotency_key=f"{key}:undo",
                undoes=key,
            )
        ]

    def test_a_preview_on_the_way_back_is_the_rest(self) -> None:
        run = cancel_saga(five(3), reason="x")
        run_one(run)
        assert [p.name for p in preview_compensation(run)] == ["b", "a"]

    def test_a_preview_of_a_dead_letter_on_its_way_back_is_what_a_retry_would_do(self) -> None:
        run = drive(five(0, d="permanent", undo_b="permanent"))
        preview = preview_compensation(run)
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
        CALLS.clear()
        retry_saga(run, reason="fixed")
        drive(run)
        assert [call.partition("(")[0] for call in CALLS] == [p.handler for p in preview]

    def test_nothing_is_undone_past_the_point_of_no_return_or_after_the_end(self) -> None:
        assert preview_compensation(diamond("start", "left", "right", "join", "pivot")) == []
        assert preview_compensation(drive(cancel_saga(five(2), reason="x"))) == []
        stuck = drive(start_saga(Five, Script({"b": "permanent", "undo_a": "permanent"}), key="s"))
        assert preview_compensation(resolve_saga(stuck, reason="x")) == []
