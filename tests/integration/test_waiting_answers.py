"""What a waiting step hears too late or too early (R53)."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from sagas import Saga, Wait, start_saga, step
from sagas.engine.recover import sweep
from sagas.models import SagaRun
from sagas.operations import cancel_saga, complete_step, fail_step, retry_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, ready_steps, run_one, states, step_of
from tests.traced import CALLS, Diamond, Five, Receipt, Script, Traced
from tests.waits import Patient, answer, diamond, five, refused, run_out


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class TestTurningBack:
    def test_a_saga_that_turns_back_does_not_wait_for_anybody_any_more(self) -> None:
        run = five(b="wait")
        cancel_saga(run, reason="changed their mind")
        row = step_of(run, "b")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "WAIT_GIVEN_UP")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "b", "undo_b(None)", "undo_a(a)"]

    def test_the_outside_system_is_asked_before_anything_is_undone(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait"}), key="k"))
        cancel_saga(run, reason="changed their mind")
        assert not run.steps.backward().exists()
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["act", "find", "undo_act(found)"]

    def test_the_deadline_ends_a_wait(self) -> None:
        run = five(b="wait=9999")
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - timedelta(seconds=1))
        assert sweep().expired == 1
        ended = drive(run)
        assert (ended.state, ended.error_code) == (SagaState.COMPENSATED, "EXECUTION_TIMEOUT")
        assert "undo_b(None)" in CALLS

    def test_a_failed_sibling_ends_a_wait(self) -> None:
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

    def test_a_success_while_the_step_is_asked_about_answers_the_question(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait"}), key="k"))
        cancel_saga(run, reason="x")
        answer(run, "act_outside")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["act", "undo_act(outside)"]

    def test_a_late_answer_to_a_dead_letter_counts_when_that_is_retried(self) -> None:
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
    def test_an_early_answer_is_kept_until_the_attempt_ends(self, end: str, of: str) -> None:
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
    def test_an_early_failure_turns_the_saga_back(self, end: str) -> None:
        run = drive(start_saga(Outpaced, Script({"end": end, "answer": "no"}), key="k"))
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "NO_STOCK")
        assert CALLS == ["act"]

    def test_an_early_answer_outlives_the_worker(self) -> None:
        run = start_saga(Five, Script(), key="k")
        claimed(run, "a")
        answer(run, "a")
        assert step_of(run, "a").state == StepState.RUNNING
        run_out(run, "a")
        assert step_of(run, "a").output == {"of": "outside"}
        assert drive(run).state == SagaState.COMPLETED
        assert "a" not in CALLS
