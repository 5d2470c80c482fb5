"""A step that an outside party completes: its wait is a row and nothing else (R53)."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from sagas import start_saga, step
from sagas.engine.execute import execute
from sagas.engine.recover import sweep
from sagas.exceptions import PayloadError
from sagas.models import SagaRun, StepRun
from sagas.operations import allowed_actions, cancel_saga, complete_step, fail_step, retry_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, everything, fresh, ready_steps, run_one, states, step_of
from tests.traced import CALLS, Five, Receipt, Script, Traced
from tests.waits import Patient, answer, diamond, five, refused, run_out


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


HOUR = timedelta(hours=1)


class TestTheWait:
    def test_is_a_row_while_the_worker_is_free(self) -> None:
        run = start_saga(Five, Script({"a": "wait"}), key="k")
        assert run_one(run) == "waiting"
        row = step_of(run, "a")
        assert (row.state, row.lease_until, row.ended_at) == (StepState.WAITING, None, None)
        assert ready_steps(run) == []
        assert sweep().total == 0
        event = run.events.get(type=EventType.STEP_WAITING)
        assert (event.from_state, event.to_state) == ("running", "waiting")
        assert event.note == "others do a"
        assert "a waits for an outside party to complete it, until" in fresh(run).explain()

    def test_ends_what_one_message_carries_a_worker_through(self) -> None:
        run = start_saga(Five, Script({"b": "wait"}), key="k")
        first = step_of(run, "a")
        assert execute(first.pk, first.fence, in_place=True) == "waiting"
        assert CALLS == ["a", "b"]

    def test_says_until_when(self) -> None:
        run = five(a="wait=60")
        until = step_of(run, "a").lease_until
        assert until is not None
        assert 50 < (until - timezone.now()).total_seconds() < 61
        assert f"until {until:%Y-%m-%d %H:%M:%S} UTC." in run.explain()

    @pytest.mark.parametrize("how", ["wait", "wait=7200"])
    def test_says_so_when_its_saga_ends_it_before(self, how: str) -> None:
        run = five(a=how)
        until = f"until {run.deadline:%Y-%m-%d %H:%M:%S} UTC, the deadline of its saga."
        assert until in run.explain()

    def test_is_not_called_stale(self) -> None:
        run = five(a="wait")
        later = timezone.now() + timedelta(days=1)
        assert not SagaRun.objects.stale(later).exists()
        answer(run, "a")
        assert SagaRun.objects.stale(later).exists()

    def test_has_neither_time_limit_nor_heartbeat(self) -> None:
        run = five(a="wait")
        StepRun.objects.filter(run=run, name="a").update(
            options={"time_limit": 1, "heartbeat_timeout": 1}, started_at=F("started_at") - HOUR
        )
        assert sweep().total == 0
        assert answer(run, "a").state == SagaState.RUNNING


class TestCompletion:
    def test_the_saga_goes_on_with_the_result(self, messages: list[str]) -> None:
        run = five(b="wait")
        messages.clear()
        assert answer(run, "b").state == SagaState.RUNNING
        assert messages == ["sagas.tests.Five.c"]
        row = step_of(run, "b")
        assert (row.state, row.output, row.in_doubt) == ("succeeded", {"of": "outside"}, False)
        assert row.lease_until is None
        assert row.ended_at is not None
        event = run.events.get(type=EventType.STEP_SUCCEEDED, step=row)
        assert (event.actor, event.note) == ("webhook", "they called")
        assert (event.from_state, event.to_state) == ("waiting", "succeeded")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["a", "b", "c", "d", "e"]

    def test_what_was_completed_outside_is_undone_with_that_result(self) -> None:
        run = five(b="wait", c="permanent")
        answer(run, "b")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-2:] == ["undo_b(outside)", "undo_a(a)"]

    def test_its_sibling_does_not_wait_for_it_and_the_join_does(self) -> None:
        run = diamond(left="wait")
        assert states(run)["right"] == StepState.SUCCEEDED
        assert states(run)["join"] == StepState.PENDING
        answer(run, "left")
        assert drive(run).state == SagaState.COMPLETED

    def test_after_the_completion_of_the_pivot_there_is_no_way_back(self) -> None:
        run = diamond(pivot="wait")
        refused(lambda: cancel_saga(run, reason="x"), "point of no return")
        assert answer(run, "pivot").pivot_passed

    def test_a_result_of_another_type_changes_nothing(self) -> None:
        run = five(a="wait")
        before = everything()
        with pytest.raises(PayloadError, match=r"result of a of tests\.Five"):
            complete_step(run, "a", result="done", reason="x")
        with pytest.raises(PayloadError, match=r"result of a of tests\.Five"):
            complete_step(run, "a", reason="x")
        assert everything() == before

    def test_a_second_answer_is_told_of_the_first(self) -> None:
        run = five(a="wait")
        answer(run, "a")
        refused(lambda: answer(run, "a"), r"webhook.*a is succeeded since .* UTC, not waiting")
        refused(lambda: fail_step(run, "a", error="x", reason="x"), "a is succeeded")
        drive(cancel_saga(run, reason="x"))
        refused(lambda: answer(run, "a"), "a is compensated")

    def test_the_completion_of_a_step_that_has_not_begun_is_refused(self) -> None:
        run = five(a="wait")
        refused(lambda: answer(run, "b"), "b is pending, not waiting")
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "b is pending, not waiting")
        refused(lambda: answer(run, "z"), "it has no such step")

    def test_completing_is_offered_where_something_waits(self) -> None:
        run = five(b="wait")
        assert {"complete_step", "fail_step", "skip_step"} <= allowed_actions(run)
        answer(run, "b")
        assert not {"complete_step", "fail_step"} & allowed_actions(run)


class TestFailure:
    def test_a_step_failed_from_outside_did_not_happen_so_only_the_rest_is_undone(self) -> None:
        run = five(b="wait")
        turned = fail_step(
            run, "b", error="no stock", code="NO_STOCK", reason="they called", actor="webhook"
        )
        assert (turned.state, turned.failed_step) == (SagaState.COMPENSATING, "b")
        assert (turned.error_code, turned.error) == ("NO_STOCK", "no stock")
        row = step_of(run, "b")
        assert (row.state, row.in_doubt) == (StepState.FAILED, False)
        event = run.events.get(type=EventType.STEP_FAILED)
        assert (event.actor, event.note) == ("webhook", "they called; NO_STOCK: no stock")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["a", "b", "undo_a(a)"]

    def test_no_other_answer_is_taken_after_a_failure(self) -> None:
        run = five(b="wait")
        fail_step(run, "b", error="no stock", reason="x")
        refused(lambda: answer(run, "b"), "b is failed since")
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "b is failed since")

    def test_a_long_error_from_outside_is_cut(self) -> None:
        run = fail_step(five(a="wait"), "a", error="x" * 5000, code="C" * 500, reason="x")
        assert len(run.error.encode()) <= 2048
        assert run.error_code == "C" * 100


class TestTimeOut:
    def test_a_wait_that_timed_out_is_undone_with_none(self) -> None:
        run = five(b="wait=60")
        run_out(run, "b")
        row = step_of(run, "b")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "STEP_TIMEOUT")
        assert row.error.startswith("no answer arrived within ")
        ended = drive(run)
        assert (ended.state, ended.error_code) == (SagaState.COMPENSATED, "STEP_TIMEOUT")
        assert CALLS == ["a", "b", "undo_b(None)", "undo_a(a)"]

    def test_the_timeout_of_the_step_bounds_the_wait(self) -> None:
        run = start_saga(Five, Script({"a": "wait=9999", "b": "wait"}), key="k")
        for name in ("a", "b"):
            StepRun.objects.filter(run=run, name=name).update(timeout=timedelta(seconds=50))
            drive(run)
            row = step_of(run, name)
            assert row.lease_until == row.expires_at is not None
            answer(run, name)

    def test_a_time_out_is_tried_again_where_the_step_says_so(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        run_out(run, "act_outside")
        drive(run)
        assert step_of(run, "act_outside").state == StepState.WAITING
        assert CALLS == ["act", "act"]
        run_out(run, "act_outside")
        assert step_of(run, "act_outside").is_reconciling

    def test_the_outside_system_is_asked_before_anything_is_decided(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        StepRun.objects.filter(run=run).update(attempt=2)
        run_out(run, "act_outside")
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "act_outside").output == {"of": "found"}

    def test_a_wait_that_timed_out_past_the_pivot_is_a_humans_who_may_try_it_again(self) -> None:
        run = diamond(ship="wait=60")
        run_out(run, "ship")
        stuck = fresh(run)
        assert (stuck.state, stuck.error_code) == (SagaState.DEAD_LETTER, "STEP_TIMEOUT")
        retry_saga(run, reason="again")
        drive(run)
        assert step_of(run, "ship").state == StepState.WAITING
        answer(run, "ship")
        assert drive(run).state == SagaState.COMPLETED


class TestAtomicSteps:
    def test_a_wait_is_a_definite_failure_that_says_why(self) -> None:
        run = drive(start_saga(Rash, Script({"book": "wait"}), key="k"))
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "WAIT_IN_ATOMIC_STEP")
        assert "atomic=True" in run.error
        assert step_of(run, "book").state == StepState.FAILED
        assert CALLS == ["book"]


class Rash(Traced):
    """Its only step is atomic, and hides that it may wait."""

    class Meta:
        label = "tests.Rash"

    @step(atomic=True)
    def book(self) -> Receipt:
        return self.act("book")

    @book.compensation
    def unbook(self, receipt: Receipt | None) -> None:
        self.undo("unbook", receipt)
