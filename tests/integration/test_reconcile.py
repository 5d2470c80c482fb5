"""An unknown outcome is asked about before anything is decided (R41, R42)."""

import pytest
from django.db import IntegrityError
from django.db.models.functions import Now

from sagas import Saga, start_saga, step
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import MAX_RECONCILE_ATTEMPTS, DidNotHappen, Succeeded
from sagas.engine.recover import sweep
from sagas.engine.transitions import claim
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, retry_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, expire_lease, fresh, run_one, step_of
from tests.traced import CALLS, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class Asked(Traced):
    """before → act → after; ``act`` can be asked whether it happened."""

    class Meta:
        label = "tests.Asked"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def before(self) -> Receipt:
        return self.act("before")

    @before.compensation
    def undo_before(self, receipt: Receipt | None) -> None:
        self.undo("undo_before", receipt)

    @step
    def act_outside(self) -> Receipt:
        return self.act("act")

    @act_outside.compensation
    def undo_act(self, receipt: Receipt | None) -> None:
        self.undo("undo_act", receipt)

    @act_outside.reconcile
    def find_act(self) -> Receipt | None:
        answer = self.input.faults.get("find")
        self.act("find")
        return None if answer == "no" else Receipt("found")

    @step
    def after(self) -> Receipt:
        return self.act("after")

    after.no_compensation("it is the last")


class Held(Saga[Script]):
    """Its only step leaves a human to decide when nobody knows."""

    class Meta:
        label = "tests.Held"

    @step(on_unknown="hold", max_retries=0)
    def wire(self) -> Receipt:
        if self.input.faults.get("wire"):
            raise ConnectionError("no answer")
        return Receipt("wire")

    @wire.compensation
    def unwire(self, receipt: Receipt | None) -> None:
        CALLS.append("unwire")


def start(**faults: str) -> SagaRun:
    return start_saga(Asked, Script(faults), key="k")


class TestAnswersOfReconcile:
    def test_that_it_happened_lets_the_saga_go_on_with_the_result(self) -> None:
        run = drive(start(act="network"))
        assert run.state == SagaState.COMPLETED
        assert CALLS == ["before", "act", "act", "find", "after"]
        assert step_of(run, "act_outside").output == {"of": "found"}

    def test_that_it_did_not_happen_leaves_it_out_of_the_undo(self) -> None:
        run = drive(start(act="network", find="no"))
        assert run.state == SagaState.COMPENSATED
        assert CALLS == ["before", "act", "act", "find", "undo_before(before)"]
        assert step_of(run, "act_outside").state == StepState.FAILED
        assert (run.failed_step, run.error_code) == ("act_outside", "ConnectionError")

    def test_that_it_is_still_unknown_is_asked_again_later(self) -> None:
        run = start(act="network", find="network")
        for _ in range(3):
            run_one_now(run)
        assert step_of(run, "act_outside").reconcile_attempts == 0
        run_one_now(run)
        row = step_of(run, "act_outside")
        assert (row.state, row.reconcile_attempts) == (StepState.READY, 1)
        assert "to be asked whether it happened (ConnectionError" in row.explain()
        assert row.send_at is not None
        assert fresh(run).state == SagaState.RUNNING

    def test_no_answer_after_all_questions_leaves_the_step_unknown_and_undone(self) -> None:
        run = drive(start(act="network", find="network"))
        assert CALLS.count("find") == MAX_RECONCILE_ATTEMPTS + 1
        assert CALLS[-2:] == ["undo_act(None)", "undo_before(before)"]
        assert run.state == SagaState.COMPENSATED

    def test_a_lost_worker_is_a_reason_to_ask(self) -> None:
        run = start()
        run_one_now(run)
        for _ in range(2):
            row = step_of(run, "act_outside")
            claim(row.pk, row.fence, task_id="", worker="")
            expire_lease(row.pk)
            sweep()
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["before", "find", "after"]

    def test_a_definite_failure_asks_nothing(self) -> None:
        drive(start(act="permanent"))
        assert "find" not in CALLS


class TestLateAnswers:
    def test_a_late_success_answers_while_the_question_is_under_way(self) -> None:
        run = start(find="no")
        run_one_now(run)
        attempts = []
        for _ in range(2):
            row = step_of(run, "act_outside")
            attempts.append(claim(row.pk, row.fence, task_id="", worker=""))
            expire_lease(row.pk)
            sweep()
        row = step_of(run, "act_outside")
        assert row.is_reconciling
        question = claim(row.pk, row.fence, task_id="", worker="")
        zombie = attempts[-1]
        assert zombie is not None
        assert question is not None
        assert "asks whether act_outside happened" in fresh(run).explain()
        record_outcome(zombie, Succeeded(output={"of": "late"}))
        assert not record_outcome(question, DidNotHappen())
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "act_outside").output == {"of": "late"}


class TestEnded:
    @pytest.mark.parametrize("state", ["pending", "waiting", "failed", "unknown", "cancelled"])
    def test_a_step_of_which_no_attempt_is_to_be_made_is_not_reconciling(self, state: str) -> None:
        run = start(act="network")
        row = StepRun.objects.filter(run=run, name="act_outside")
        with pytest.raises(IntegrityError, match="sagas_step_state"):
            row.update(state=state, reconcile_attempts=0)


class TestTurningBack:
    def test_a_step_between_attempts_is_asked_about_before_anything_is_undone(self) -> None:
        run = start(act="network")
        run_one_now(run)
        run_one_now(run)
        cancel_saga(run, reason="changed their mind")
        assert not run.steps.backward().exists()
        run = drive(run)
        assert CALLS == ["before", "act", "find", "undo_act(found)", "undo_before(before)"]
        assert run.state == SagaState.CANCELLED

    def test_the_question_is_an_event(self) -> None:
        run = drive(start(act="network"))
        assert run.events.filter(type=EventType.STEP_RECONCILING).count() == 1


class TestHold:
    def test_an_unknown_outcome_waits_for_a_human(self) -> None:
        run = drive(start_saga(Held, Script({"wire": "network"}), key="k"))
        assert run.state == SagaState.DEAD_LETTER
        assert step_of(run, "wire").state == StepState.UNKNOWN
        assert CALLS == []

    def test_who_may_retry_it_with_the_same_key(self) -> None:
        run = drive(start_saga(Held, Script({"wire": "network"}), key="k"))
        SagaRun.objects.update(input={"faults": {}})
        assert drive(retry_saga(run, reason="the bank is back")).state == SagaState.COMPLETED


def run_one_now(run: SagaRun) -> None:
    run.steps.filter(state=StepState.READY).update(due_at=Now())
    run_one(run)
