"""Compensations that wait, and operators in front of what waits (R53)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from sagas import start_saga, step
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Waiting
from sagas.engine.recover import sweep
from sagas.models import SagaRun, StepRun
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
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.traced import CALLS, Five, Receipt, Script, Traced
from tests.waits import answer, five, refused, run_out, undoing


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


HOUR = timedelta(hours=1)


class TestACompensationThatWaits:
    def test_keeps_the_chain_where_it_is_until_it_is_completed(self) -> None:
        run = undoing()
        assert run.state == SagaState.COMPENSATING
        assert states(run, "backward") == {"c": "succeeded", "b": "waiting", "a": "pending"}
        assert states(run)["b"] == StepState.SUCCEEDED
        complete_step(run, "undo_b", reason="the refund is booked")
        assert states(run)["b"] == StepState.COMPENSATED
        assert drive(run).state == SagaState.COMPENSATED

    def test_takes_no_result(self) -> None:
        run = undoing()
        refused(lambda: answer(run, "undo_b"), "a compensation has no result")

    def test_waits_without_a_timeout_as_long_as_the_saga_had(self) -> None:
        until = step_of(undoing(), "b", direction="backward").lease_until
        assert until is not None
        assert 14 * 60 < (until - timezone.now()).total_seconds() < 15 * 60 + 1

    def test_that_timed_out_is_tried_again_and_ends_as_a_dead_letter(self) -> None:
        run = undoing()
        backward = StepRun.objects.backward().filter(run=run, name="b")
        for _ in range(backward.get().options.get("max_retries", 3)):
            run_out(run, "b", "backward")
            drive(run)
            assert backward.get().state == StepState.WAITING
        run_out(run, "b", "backward")
        stuck = fresh(run)
        assert stuck.state == SagaState.DEAD_LETTER
        assert "no answer arrived" in stuck.compensation_error
        refused(
            lambda: complete_step(run, "undo_b", reason="x"),
            "skip_step says that it was undone after",
        )
        skip_step(run, "b", reason="it was refunded after all")
        assert drive(run).state == SagaState.COMPENSATED

    def test_that_is_failed_is_a_dead_letter_at_once_and_can_be_retried(self) -> None:
        run = undoing()
        stuck = fail_step(run, "undo_b", error="account closed", reason="the bank says")
        assert stuck.state == SagaState.DEAD_LETTER
        assert stuck.compensation_error == "undo_b: account closed"
        retry_saga(run, reason="another account")
        drive(run)
        complete_step(run, "undo_b", reason="booked")
        assert drive(run).state == SagaState.COMPENSATED

    def test_keeps_its_place_in_a_dead_letter(self) -> None:
        run = undoing()
        stuck = {"state": SagaState.DEAD_LETTER}
        SagaRun.objects.filter(pk=run.pk).update(**stuck)
        retry_saga(run, reason="again")
        assert states(run, "backward")["b"] == StepState.WAITING
        complete_step(run, "undo_b", reason="booked")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS.count("undo_b(None)") == 0

    def test_can_be_completed_between_two_attempts(self) -> None:
        run = undoing()
        run_out(run, "b", "backward")
        complete_step(run, "undo_b", reason="booked")
        calls = len(CALLS)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[calls:] == ["undo_a(a)"]


class TestOperatorsAndAWait:
    def test_the_time_of_a_pause_does_not_count(self) -> None:
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
        if result is not None:
            refused(lambda: answer(run, "b"), "not waiting")
        assert drive(run).state == SagaState.COMPLETED

    @pytest.mark.parametrize("how", ["wait", "network"])
    def test_a_waiting_step_that_was_skipped_and_happened_after_all_is_undone_with_the_rest(
        self, how: str
    ) -> None:
        run = start_saga(Five, Script({"b": how}), key="k")
        run_one(run)
        run_one(run)
        skip_step(run, "b", reason="not needed")
        answer(run, "b")
        assert step_of(run, "b").state == "succeeded"
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-2:] == ["undo_b(outside)", "undo_a(a)"]

    def test_a_waiting_compensation_can_be_skipped(self) -> None:
        run = undoing()
        skip_step(run, "b", reason="refunded by phone")
        assert drive(run).state == SagaState.COMPENSATED

    def test_an_answer_is_recorded_while_a_dead_letter_stands(self) -> None:
        run = start_saga(Branching, Script({"left": "wait", "right": "permanent"}), key="k")
        stuck = drive(run)
        assert (stuck.state, states(run)["left"]) == (SagaState.DEAD_LETTER, "waiting")
        assert {"complete_step", "fail_step"} <= allowed_actions(stuck)
        assert answer(run, "left").state == SagaState.DEAD_LETTER
        skip_step(run, "right", reason="by hand")
        assert drive(run).state == SagaState.COMPLETED

    def test_an_answer_to_a_wait_that_begins_in_a_dead_letter_is_recorded(self) -> None:
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
