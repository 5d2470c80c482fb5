"""An answer names the request that it is for (R42, R85)."""

import pytest

from sagas import start_saga, step
from sagas.exceptions import PayloadError, StepTimeout
from sagas.models import SagaRun
from sagas.operations import (
    cancel_saga,
    complete_compensation,
    complete_step,
    fail_step,
    pause_saga,
    resume_saga,
)
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, everything, fresh, run_one, states, step_of
from tests.traced import CALLS, Receipt, Script, Traced
from tests.waits import Patient, answer, five, refused, run_out, undoing


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def request_of(run: SagaRun, name: str, direction: str = "forward") -> int:
    """Return the request that a step made last."""
    return step_of(run, name, direction=direction).fence


def succeed(run: SagaRun, name: str, request: int, of: str = "outside") -> SagaRun:
    return complete_step(run, name, result=Receipt(of), request=request, reason="reply")


def fail(run: SagaRun, name: str, request: int) -> SagaRun:
    return fail_step(run, name, error="no stock", code="NO_STOCK", request=request, reason="reply")


def nothing_new(run: SagaRun, again: SagaRun, before: list[object]) -> None:
    assert again.state == fresh(run).state
    assert everything() == before


class TestTheWaitsRow:
    def test_keeps_what_the_wait_is_for(self) -> None:
        run = five(b="wait=60")
        assert step_of(run, "b").wait == {"kind": "outside", "note": "others do b"}


class TestReplies:
    """Of participants, to a step, its failure and a compensation, each named by its request."""

    def test_a_success_moves_the_saga_on_and_again_changes_nothing(self) -> None:
        run = five(b="wait")
        request = request_of(run, "b")
        assert succeed(run, "b", request).state == SagaState.RUNNING
        assert states(run)["b"] == StepState.SUCCEEDED
        before = everything()
        nothing_new(run, succeed(run, "b", request), before)
        refused(lambda: succeed(run, "b", request, of="another"), "b is succeeded")
        refused(lambda: fail(run, "b", request), "b is succeeded")
        drive(run)
        before = everything()
        nothing_new(run, succeed(run, "b", request), before)

    def test_a_failure_turns_the_saga_back_and_again_changes_nothing(self) -> None:
        run = five(b="wait")
        request = request_of(run, "b")
        assert fail(run, "b", request).error_code == "NO_STOCK"
        before = everything()
        nothing_new(run, fail(run, "b", request), before)
        refused(lambda: succeed(run, "b", request), "b is failed")
        assert drive(run).state == SagaState.COMPENSATED
        before = everything()
        nothing_new(run, fail(run, "b", request), before)

    def test_a_compensation_that_is_completed_is_undone_and_again_changes_nothing(self) -> None:
        run = undoing()
        request = request_of(run, "b", "backward")
        complete_compensation(run, "b", request=request, reason="reply")
        assert states(run)["b"] == StepState.COMPENSATED
        before = everything()
        again = complete_compensation(run, "b", request=request, reason="reply")
        nothing_new(run, again, before)
        assert drive(run).state == SagaState.COMPENSATED

    @pytest.mark.parametrize("name", ["a", "c", "nobody"])
    def test_the_wrong_step_is_refused(self, name: str) -> None:
        run = five(b="wait")
        refused(lambda: succeed(run, name, 1, of="it"), f"{name} is|no such step")
        refused(lambda: fail(run, name, 1), f"{name} is|no such step")
        refused(lambda: complete_compensation(run, name, request=1, reason="x"), "no such step")

    def test_without_a_request_the_second_is_told_of_the_first(self) -> None:
        run = five(b="wait")
        answer(run, "b")
        refused(lambda: answer(run, "b"), "b is succeeded")

    def test_a_step_is_named_by_its_id_as_well(self) -> None:
        run = undoing()
        row = step_of(run, "b", direction="backward")
        complete_step(run, str(row.pk), request=row.fence, reason="reply")
        assert states(run)["b"] == StepState.COMPENSATED

    def test_an_early_reply_is_kept_once(self) -> None:
        run = start_saga(Patient, Script({"act": "wait"}), key="k")
        attempt = claimed(run, "act_outside")
        succeed(run, "act_outside", attempt.fence)
        before = everything()
        nothing_new(run, succeed(run, "act_outside", attempt.fence), before)
        refused(lambda: fail(run, "act_outside", attempt.fence), "has its answer already")

    def test_a_request_that_nobody_made_is_refused(self) -> None:
        run = five(b="wait")
        refused(lambda: succeed(run, "b", 7), "b has made no request 7")

    def test_a_result_of_another_type_changes_nothing(self) -> None:
        run = five(b="wait")
        before = everything()
        with pytest.raises(PayloadError, match="result of b"):
            complete_step(run, "b", result="done", request=1, reason="reply")
        assert everything() == before


class TestAnEarlierRequest:
    def asked_twice(self) -> SagaRun:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        run_out(run, "act_outside")
        return drive(run)

    def test_a_success_is_the_step_s_whichever_request_it_answers(self) -> None:
        run = self.asked_twice()
        assert (step_of(run, "act_outside").state, CALLS) == (StepState.WAITING, ["act", "act"])
        assert succeed(run, "act_outside", 1).state == SagaState.COMPLETED

    def test_a_failure_says_nothing_of_the_request_that_waits(self) -> None:
        run = self.asked_twice()
        refused(lambda: fail(run, "act_outside", 1), "request 1 of act_outside was given up")
        assert fail(run, "act_outside", 2).error_code == "NO_STOCK"

    def test_a_failure_says_nothing_of_the_attempt_that_runs(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        run_out(run, "act_outside")
        claimed(run, "act_outside")
        refused(lambda: fail(run, "act_outside", 1), "request 1 of act_outside was given up")

    def test_a_success_after_the_turn_is_undone_with_its_result(self) -> None:
        run = cancel_saga(five(b="wait"), reason="x")
        succeed(run, "b", 1)
        assert run.events.filter(type=EventType.STEP_LATE).count() == 1
        assert drive(run).state == SagaState.CANCELLED
        assert "undo_b(outside)" in CALLS


class Withdrawing(Traced):
    """Its step, and what undoes it, are left to others, who are asked again when they are silent."""

    class Meta:
        label = "tests.Withdrawing"

    @step
    def order(self) -> Receipt:
        return self.act("order")

    @order.compensation(max_retries=3, autoretry_for=[StepTimeout])
    def withdraw(self, receipt: Receipt | None) -> None:
        self.undo("withdraw", receipt)


class TestAnEarlierRequestToUndo:
    def withdrawn_twice(self) -> SagaRun:
        """The order turned out to have happened when its undoing had been asked for already."""
        script = Script({"order": "wait", "withdraw": "wait=60"})
        run = drive(cancel_saga(drive(start_saga(Withdrawing, script, key="k")), reason="x"))
        assert request_of(run, "order", "backward") == 1
        succeed(run, "order", 1)
        drive(run)
        assert step_of(run, "order", direction="backward").state == StepState.WAITING
        assert request_of(run, "order", "backward") == 2
        return run

    def test_does_not_count_for_the_undoing_that_came_after_it(self) -> None:
        run = self.withdrawn_twice()
        early = "request 1 of undo of order was given up"
        refused(
            lambda: complete_compensation(run, "order", request=1, reason="there is no order"),
            early,
        )
        assert states(run)["order"] == StepState.SUCCEEDED
        complete_compensation(run, "order", request=2, reason="withdrawn")
        assert fresh(run).state == SagaState.CANCELLED

    def test_nor_while_that_is_about_to_be_asked_or_runs(self) -> None:
        script = Script({"order": "wait", "withdraw": "wait=60"})
        run = drive(cancel_saga(drive(start_saga(Withdrawing, script, key="k")), reason="x"))
        succeed(run, "order", 1)
        withdrawn = "undo of order is ready|request 1 of undo of order was given up"
        for _ in range(2):
            refused(
                lambda: complete_compensation(run, "order", request=1, reason="none"), withdrawn
            )
            if states(run, "backward")["order"] == StepState.READY:
                claimed(run, "order", "backward")

    def test_nor_when_the_later_one_is_asked_once_more(self) -> None:
        run = self.withdrawn_twice()
        run_out(run, "order", "backward")
        refused(lambda: complete_compensation(run, "order", request=1, reason="none"), "given up")
        assert complete_compensation(run, "order", request=2, reason="withdrawn").is_compensated

    def test_counts_where_it_only_took_longer_than_the_wait(self) -> None:
        script = Script({"order": "wait", "withdraw": "wait=60"})
        run = drive(cancel_saga(drive(start_saga(Withdrawing, script, key="k")), reason="x"))
        run_out(run, "order", "backward")
        run_one(run)
        assert request_of(run, "order", "backward") == 2
        assert complete_compensation(run, "order", request=1, reason="late").is_compensated

    def test_a_pause_takes_no_answer_for_one_of_before(self) -> None:
        script = Script({"order": "wait", "withdraw": "wait=60"})
        run = drive(start_saga(Withdrawing, script, key="k"))
        pause_saga(cancel_saga(run, reason="x"), reason="x")
        run = drive(resume_saga(run, reason="x"))
        request = request_of(run, "order", "backward")
        assert request == 2
        refused(lambda: complete_compensation(run, "order", request=1, reason="x"), "given up")
        assert complete_compensation(run, "order", request=2, reason="x").is_compensated
