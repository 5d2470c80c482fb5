"""A step that an outside party completes: its wait is a row and nothing else (R53)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from sagas import Saga, Wait, start_saga, step
from sagas.advance import record_outcome
from sagas.decisions import Waiting
from sagas.exceptions import ActionNotAllowed, PayloadError, StepTimeout
from sagas.execute import execute
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import (
    allowed_actions,
    cancel_saga,
    complete_step,
    fail_step,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    skip_step,
)
from sagas.recover import sweep
from sagas.states import EventType, SagaState, StepState
from sagas.transitions import claim
from tests.driving import drive, expire_lease, fresh, ready_steps, run_one, states, step_of
from tests.traced import CALLS, Diamond, Five, Receipt, Script, Traced


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_called(messages: list[str]) -> None:
    CALLS.clear()


def five(**faults: str) -> SagaRun:
    return drive(start_saga(Five, Script(faults), key="k"))


def diamond(**faults: str) -> SagaRun:
    return drive(start_saga(Diamond, Script(faults), key="k"))


def undoing(**faults: str) -> SagaRun:
    """A saga whose step ``d`` failed and whose second compensation waits."""
    return five(d="permanent", undo_b="wait", **faults)


def answer(run: SagaRun, name: str, of: str = "outside") -> SagaRun:
    return complete_step(run, name, result=Receipt(of), reason="they called", actor="webhook")


def claimed(run: SagaRun, name: str) -> StepRun:
    row = step_of(run, name)
    attempt = claim(row.pk, row.fence, task_id="", worker="")
    assert attempt is not None
    return attempt


def run_out(run: SagaRun, name: str, direction: str = "forward") -> None:
    """Let the wait of a step run out."""
    expire_lease(step_of(run, name, direction=direction).pk)
    assert sweep().lost == 1


def everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (SagaRun, StepRun, SagaEvent)]


def refused(act: Callable[[], object], why: str) -> None:
    before = everything()
    with pytest.raises(ActionNotAllowed, match=why):
        act()
    assert everything() == before


class TestTheWait:
    def test_is_a_row_and_the_worker_is_free(self) -> None:
        run = start_saga(Five, Script({"a": "wait"}), key="k")
        assert run_one(run) == "waiting"
        row = step_of(run, "a")
        assert (row.state, row.lease_until, row.ended_at) == (StepState.WAITING, None, None)
        assert ready_steps(run) == []
        assert sweep().total == 0
        event = run.events.get(type=EventType.STEP_WAITING)
        assert (event.from_state, event.to_state) == ("running", "waiting")
        assert event.note == "others do a"
        assert "a waits for an outside party to complete it." in fresh(run).explain()

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
        assert f"until {until:%Y-%m-%d %H:%M:%S} UTC" in run.explain()

    def test_is_no_standing_still(self) -> None:
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


HOUR = timedelta(hours=1)


class TestCompletion:
    def test_the_saga_goes_on_with_the_result(self, messages: list[str]) -> None:
        run = five(b="wait")
        messages.clear()
        assert answer(run, "b").state == SagaState.RUNNING
        assert messages == ["sagas.tests.Five.c"]
        row = step_of(run, "b")
        assert (row.state, row.output, row.doubtful) == ("succeeded", {"of": "outside"}, False)
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

    def test_of_the_pivot_there_is_no_way_back_afterwards(self) -> None:
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

    def test_of_what_has_not_begun_is_refused(self) -> None:
        run = five(a="wait")
        refused(lambda: answer(run, "b"), "b is pending, not waiting")
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "b is pending, not waiting")
        refused(lambda: answer(run, "z"), "it has no such step")

    def test_it_is_offered_where_something_waits(self) -> None:
        run = five(b="wait")
        assert {"complete_step", "fail_step", "skip_step"} <= allowed_actions(run)
        answer(run, "b")
        assert not {"complete_step", "fail_step"} & allowed_actions(run)


class TestFailure:
    def test_it_did_not_happen_so_only_the_rest_is_undone(self) -> None:
        run = five(b="wait")
        turned = fail_step(
            run, "b", error="no stock", code="NO_STOCK", reason="they called", actor="webhook"
        )
        assert (turned.state, turned.failed_step) == (SagaState.COMPENSATING, "b")
        assert (turned.error_code, turned.error) == ("NO_STOCK", "no stock")
        row = step_of(run, "b")
        assert (row.state, row.doubtful) == (StepState.FAILED, False)
        event = run.events.get(type=EventType.STEP_FAILED)
        assert (event.actor, event.note) == ("webhook", "they called; NO_STOCK: no stock")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["a", "b", "undo_a(a)"]

    def test_no_other_answer_is_taken_afterwards(self) -> None:
        run = five(b="wait")
        fail_step(run, "b", error="no stock", reason="x")
        refused(lambda: answer(run, "b"), "b is failed since")
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "b is failed since")

    def test_a_long_text_is_cut(self) -> None:
        run = fail_step(five(a="wait"), "a", error="x" * 5000, code="C" * 500, reason="x")
        assert len(run.error.encode()) <= 2048
        assert run.error_code == "C" * 100


class TestTimeOut:
    def test_nobody_knows_so_it_is_undone_with_none(self) -> None:
        run = five(b="wait=60")
        run_out(run, "b")
        row = step_of(run, "b")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "STEP_TIMEOUT")
        assert row.error.startswith("nobody completed the waiting step within ")
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
        assert step_of(run, "act_outside").asking

    def test_the_outside_system_is_asked_before_anything_is_decided(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        StepRun.objects.filter(run=run).update(attempt=2)
        run_out(run, "act_outside")
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "act_outside").output == {"of": "found"}

    def test_past_the_pivot_it_waits_for_a_human_who_may_try_it_again(self) -> None:
        run = diamond(ship="wait=60")
        run_out(run, "ship")
        stuck = fresh(run)
        assert (stuck.state, stuck.error_code) == (SagaState.DEAD_LETTER, "STEP_TIMEOUT")
        retry_saga(run, reason="again")
        drive(run)
        assert step_of(run, "ship").state == StepState.WAITING
        answer(run, "ship")
        assert drive(run).state == SagaState.COMPLETED


class Patient(Traced):
    """Its only step is tried again when nobody completed it, and can be asked about."""

    class Meta:
        label = "tests.Patient"

    @step(max_retries=1, autoretry_for=[StepTimeout])
    def act_outside(self) -> Receipt:
        return self.act("act")

    @act_outside.compensation
    def undo_act(self, receipt: Receipt | None) -> None:
        self.undo("undo_act", receipt)

    @act_outside.reconcile
    def find_act(self) -> Receipt | None:
        self.act("find")
        return Receipt("found")


class TestTurningBack:
    def test_it_does_not_wait_for_anybody_any_more(self) -> None:
        run = five(b="wait")
        cancel_saga(run, reason="changed their mind")
        row = step_of(run, "b")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "WAIT_GIVEN_UP")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "b", "undo_b(None)", "undo_a(a)"]

    def test_the_outside_system_is_asked_first(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait"}), key="k"))
        cancel_saga(run, reason="changed their mind")
        assert not run.steps.backward().exists()
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["act", "find", "undo_act(found)"]

    def test_the_deadline_ends_it_too(self) -> None:
        run = five(b="wait=9999")
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - timedelta(seconds=1))
        assert sweep().expired == 1
        ended = drive(run)
        assert (ended.state, ended.error_code) == (SagaState.COMPENSATED, "EXECUTION_TIMEOUT")
        assert "undo_b(None)" in CALLS

    def test_a_failed_sibling_ends_it_too(self) -> None:
        run = start_saga(Diamond, Script({"left": "wait", "right": "permanent"}), key="k")
        for name in ("start", "left", "right"):
            run_one(run, name)
        assert states(run)["left"] == StepState.UNKNOWN
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-2:] == ["undo_left(None)", "undo_start(start)"]

    def test_a_step_that_wants_to_wait_after_the_turn_does_not(self) -> None:
        run = start_saga(Cancelling, Script(), key="k")
        assert run_one(run) == "waiting"
        row = step_of(run, "act_outside")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "WAIT_GIVEN_UP")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["undo_act(None)"]


class Cancelling(Traced):
    """Its only step cancels its saga before it waits."""

    class Meta:
        label = "tests.Cancelling"

    @step
    def act_outside(self) -> Receipt:
        cancel_saga(SagaRun.objects.get(pk=self.run.id), reason="meanwhile")
        raise Wait

    @act_outside.compensation
    def undo_act(self, receipt: Receipt | None) -> None:
        self.undo("undo_act", receipt)


class TestLateAnswers:
    @pytest.mark.parametrize("done", [0, 1, 2, 3])
    def test_a_success_after_the_turn_is_undone_with_its_result(self, done: int) -> None:
        run = five(b="wait")
        cancel_saga(run, reason="changed their mind")
        for _ in range(done):
            if ready_steps(run):
                run_one(run)
        answer(run, "b")
        assert run.events.filter(type=EventType.STEP_LATE, actor="webhook").count() == 1
        assert drive(run).state == SagaState.CANCELLED
        assert "undo_b(outside)" in CALLS
        assert states(run) == {
            **dict.fromkeys("ab", StepState.COMPENSATED),
            **dict.fromkeys("cde", StepState.CANCELLED),
        }
        refused(lambda: answer(run, "b"), "b is compensated")

    def test_a_compensation_that_waits_meanwhile_came_too_early_and_asks_once_more(self) -> None:
        run = five(b="wait", undo_b="wait")
        drive(cancel_saga(run, reason="x"))
        assert states(run, "backward")["b"] == StepState.WAITING
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "its compensation undo_b is")
        answer(run, "b")
        drive(run)
        assert states(run, "backward")["b"] == StepState.WAITING
        complete_step(run, "undo_b", reason="withdrawn")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "b", "undo_b", "undo_b", "undo_a(a)"]

    @pytest.mark.parametrize("undo", ["wait", "once-network", "once-unknown"])
    def test_what_is_said_of_an_undoing_that_came_before_it_does_not_count(self, undo: str) -> None:
        run = cancel_saga(five(b="wait", undo_b=undo), reason="x")
        run_one(run)
        answer(run, "b")
        if undo == "once-unknown":
            retry_saga(run, reason="it did not answer")
        refused(lambda: complete_step(run, "undo_b", reason="withdrawn"), "undo of b is ready")
        assert "undo_b(outside)" not in CALLS

    def test_a_failure_after_the_turn_is_refused(self) -> None:
        run = cancel_saga(five(b="wait"), reason="x")
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "b is unknown since")

    def test_a_success_between_two_attempts_settles_the_step(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        run_out(run, "act_outside")
        assert step_of(run, "act_outside").state == StepState.READY
        assert answer(run, "act_outside").state == SagaState.COMPLETED
        assert CALLS == ["act"]

    def test_a_success_while_it_is_asked_about_answers_the_question(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait"}), key="k"))
        cancel_saga(run, reason="x")
        answer(run, "act_outside")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["act", "undo_act(outside)"]

    def test_of_a_dead_letter_it_counts_when_that_is_retried(self) -> None:
        run = diamond(ship="wait=60")
        run_out(run, "ship")
        assert answer(run, "ship").state == SagaState.DEAD_LETTER
        retry_saga(run, reason="it did ship")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS.count("ship") == 1


class Outpaced(Saga[Script]):
    """The outside party is faster than the step, which then waits, fails or ends by itself."""

    class Meta:
        label = "tests.Outpaced"
        step_defaults = {"max_retries": 2}

    @step
    def act_outside(self) -> Receipt:
        run = SagaRun.objects.get(pk=self.run.id)
        CALLS.append("act")
        if self.input.faults.get("answer") == "no":
            fail_step(run, "act_outside", error="no stock", code="NO_STOCK", reason="at once")
        else:
            answer(run, "act_outside")
        refused(lambda: answer(run, "act_outside"), "has its answer already")
        end = self.input.faults.get("end")
        if end == "network":
            raise ConnectionError
        if end == "success":
            return Receipt("itself")
        raise Wait

    @act_outside.compensation
    def undo_act(self, receipt: Receipt | None) -> None:
        CALLS.append("undo_act")


class TestEarlyAnswers:
    @pytest.mark.parametrize(("end", "of"), [("wait", "outside"), ("network", "outside")])
    def test_one_is_kept_until_the_attempt_ends(self, end: str, of: str) -> None:
        run = drive(start_saga(Outpaced, Script({"end": end}), key="k"))
        assert run.state == SagaState.COMPLETED
        assert step_of(run, "act_outside").output == {"of": of}
        assert CALLS == ["act"]
        event = run.events.get(type=EventType.STEP_ANSWERED)
        assert (event.actor, event.note) == ("webhook", "they called")

    def test_a_step_that_succeeds_by_itself_knows_better(self) -> None:
        run = drive(start_saga(Outpaced, Script({"end": "success"}), key="k"))
        assert step_of(run, "act_outside").output == {"of": "itself"}
        run = drive(start_saga(Outpaced, Script({"end": "success", "answer": "no"}), key="l"))
        assert run.state == SagaState.COMPLETED

    @pytest.mark.parametrize("end", ["wait", "network"])
    def test_a_no_ends_the_saga(self, end: str) -> None:
        run = drive(start_saga(Outpaced, Script({"end": end, "answer": "no"}), key="k"))
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "NO_STOCK")
        assert CALLS == ["act"]

    def test_it_outlives_the_worker(self) -> None:
        run = start_saga(Five, Script(), key="k")
        claimed(run, "a")
        answer(run, "a")
        assert step_of(run, "a").state == StepState.RUNNING
        run_out(run, "a")
        assert step_of(run, "a").output == {"of": "outside"}
        assert drive(run).state == SagaState.COMPLETED
        assert "a" not in CALLS


class TestCompensations:
    def test_the_chain_stays_where_it_is_until_it_is_completed(self) -> None:
        run = undoing()
        assert run.state == SagaState.COMPENSATING
        assert states(run, "backward") == {"c": "succeeded", "b": "waiting", "a": "pending"}
        assert states(run)["b"] == StepState.SUCCEEDED
        complete_step(run, "undo_b", reason="the refund is booked")
        assert states(run)["b"] == StepState.COMPENSATED
        assert drive(run).state == SagaState.COMPENSATED

    def test_it_takes_no_result(self) -> None:
        run = undoing()
        refused(lambda: answer(run, "undo_b"), "a compensation has no result")

    def test_without_a_timeout_it_waits_as_long_as_the_saga_had(self) -> None:
        until = step_of(undoing(), "b", direction="backward").lease_until
        assert until is not None
        assert 14 * 60 < (until - timezone.now()).total_seconds() < 15 * 60 + 1

    def test_a_time_out_is_tried_again_and_ends_as_a_dead_letter(self) -> None:
        run = undoing()
        backward = StepRun.objects.backward().filter(run=run, name="b")
        for _ in range(backward.get().options.get("max_retries", 3)):
            run_out(run, "b", "backward")
            drive(run)
            assert backward.get().state == StepState.WAITING
        run_out(run, "b", "backward")
        stuck = fresh(run)
        assert stuck.state == SagaState.DEAD_LETTER
        assert "nobody completed the waiting step" in stuck.compensation_error
        refused(
            lambda: complete_step(run, "undo_b", reason="x"),
            "skip_step says that it was undone after",
        )
        skip_step(run, "b", reason="it was refunded after all")
        assert drive(run).state == SagaState.COMPENSATED

    def test_a_no_is_a_dead_letter_at_once_and_can_be_retried(self) -> None:
        run = undoing()
        stuck = fail_step(run, "undo_b", error="account closed", reason="the bank says")
        assert stuck.state == SagaState.DEAD_LETTER
        assert stuck.compensation_error == "undo_b: account closed"
        retry_saga(run, reason="another account")
        drive(run)
        complete_step(run, "undo_b", reason="booked")
        assert drive(run).state == SagaState.COMPENSATED

    def test_one_that_waits_in_a_dead_letter_keeps_its_place(self) -> None:
        run = undoing()
        stuck = {"state": SagaState.DEAD_LETTER}
        SagaRun.objects.filter(pk=run.pk).update(**stuck)
        retry_saga(run, reason="again")
        assert states(run, "backward")["b"] == StepState.WAITING
        complete_step(run, "undo_b", reason="booked")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS.count("undo_b(None)") == 0

    def test_completed_between_two_attempts(self) -> None:
        run = undoing()
        run_out(run, "b", "backward")
        complete_step(run, "undo_b", reason="booked")
        calls = len(CALLS)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[calls:] == ["undo_a(a)"]


class TestOperators:
    def test_a_pause_does_not_count(self) -> None:
        run = five(b="wait=60")
        row = step_of(run, "b")
        pause_saga(run, reason="x")
        expire_lease(row.pk)
        SagaRun.objects.filter(pk=run.pk).update(paused_at=F("paused_at") - HOUR)
        assert sweep().total == 0
        resume_saga(run, reason="x")
        assert sweep().total == 0
        until = step_of(run, "b").lease_until
        assert until is not None
        assert until > timezone.now() + timedelta(minutes=58)

    def test_a_paused_saga_takes_the_answer_and_goes_on_when_it_is_resumed(
        self, messages: list[str]
    ) -> None:
        run = pause_saga(five(b="wait"), reason="x")
        messages.clear()
        answer(run, "b")
        assert messages == []
        resume_saga(run, reason="x")
        assert messages == ["sagas.tests.Five.c"]
        assert drive(run).state == SagaState.COMPLETED

    @pytest.mark.parametrize("result", [None, Receipt("by hand")])
    def test_a_waiting_step_can_be_skipped(self, result: Receipt | None) -> None:
        run = five(b="wait")
        extra: dict[str, Any] = {} if result is None else {"result": result}
        skip_step(run, "b", reason="not needed", **extra)
        row = step_of(run, "b")
        assert row.state == ("skipped" if result is None else "succeeded")
        assert row.lease_until is None
        refused(lambda: answer(run, "b"), "not waiting")
        assert drive(run).state == SagaState.COMPLETED

    def test_a_waiting_compensation_too(self) -> None:
        run = undoing()
        skip_step(run, "b", reason="refunded by phone")
        assert drive(run).state == SagaState.COMPENSATED

    def test_while_a_dead_letter_stands_the_answer_is_recorded(self) -> None:
        run = start_saga(Branching, Script({"left": "wait", "right": "permanent"}), key="k")
        stuck = drive(run)
        assert (stuck.state, states(run)["left"]) == (SagaState.DEAD_LETTER, "waiting")
        assert {"complete_step", "fail_step"} <= allowed_actions(stuck)
        assert answer(run, "left").state == SagaState.DEAD_LETTER
        skip_step(run, "right", reason="by hand")
        assert drive(run).state == SagaState.COMPLETED

    def test_a_wait_that_begins_there_too(self) -> None:
        run = start_saga(Branching, Script({"left": "wait", "right": "permanent"}), key="k")
        run_one(run, "start")
        left = claimed(run, "left")
        run_one(run, "right")
        assert fresh(run).state == SagaState.DEAD_LETTER
        record_outcome(left, Waiting())
        assert states(run)["left"] == StepState.WAITING
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
        retry_saga(run, reason="again")
        drive(run)
        answer(run, "left")
        assert drive(run).state == SagaState.COMPLETED
        assert "left" not in CALLS

    def test_a_saga_that_was_resolved_waits_for_nobody(self) -> None:
        run = drive(start_saga(Branching, Script({"left": "wait", "right": "permanent"}), key="k"))
        resolve_saga(run, reason="settled")
        assert states(run)["left"] == StepState.UNKNOWN
        refused(lambda: answer(run, "left"), "nothing of it will run any more")


class Branching(Traced):
    """start, the pivot → {left ∥ right}."""

    class Meta:
        label = "tests.Branching"

    @step(pivot=True)
    def start(self) -> Receipt:
        return self.act("start")

    @step(after=[start])
    def left(self) -> Receipt:
        return self.act("left")

    @step(after=[start])
    def right(self) -> Receipt:
        return self.act("right")


class TestAtomicSteps:
    def test_a_wait_is_a_definite_failure_that_says_why(self) -> None:
        run = drive(start_saga(Rash, Script({"book": "wait"}), key="k"))
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "WAIT_IN_ATOMIC")
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
