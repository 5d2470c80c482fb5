"""A best-effort step that is tried again by hand, and what becomes of its saga meanwhile (R50)."""

from datetime import timedelta

import pytest

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.recover import sweep
from sagas.models import SagaRun
from sagas.operations import (
    allowed_actions,
    allowed_step_actions,
    cancel_saga,
    compensate_saga,
    complete_step,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    retry_step,
)
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.mild import Mild
from tests.traced import CALLS, Receipt, Script
from tests.waits import refused


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

DONE = Succeeded(output={"of": "note"})
MAYBE = Failed(code="GONE", error="no answer", retryable=True, in_doubt=True)


def going(**faults: str) -> SagaRun:
    """A saga that goes on without its note, which failed."""
    run = start_saga(Mild, Script({**faults, "note": "permanent"}), key="k")
    run_one(run)
    run_one(run)
    assert states(run)["note"] == StepState.FAILED
    repair(run, **faults)
    return fresh(run)


def completed(**faults: str) -> SagaRun:
    run = drive(going(**faults))
    CALLS.clear()
    return run


def repair(run: SagaRun, **faults: str) -> None:
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": faults})


def offered(run: SagaRun, name: str) -> frozenset[str]:
    run = fresh(run)
    return allowed_step_actions(run, list(run.steps.all())).get(name, frozenset())


class TestTwoOperators:
    def test_the_second_operator_is_told_that_a_follow_up_is_under_way(self) -> None:
        run = retry_step(completed(), "note", reason="mail works again", actor="ann")
        refused(
            lambda: retry_step(run, "note", reason="x"), r"Step retried by hand, ann.* is ready"
        )
        claimed(run, "note")
        refused(lambda: retry_step(run, "note", reason="x"), "note is running")
        assert offered(run, "note") == {"rewind"}


class TestAFollowUpOfAPausedSaga:
    def test_is_made_ready_and_sent_when_the_saga_is_resumed(self, messages: list[str]) -> None:
        run = pause_saga(going(), reason="gateway is down")
        messages.clear()
        assert offered(run, "note") == {"retry_step", "skip_step", "rewind"}
        retry_step(run, "note", reason="again")
        assert drive(run).state == SagaState.RUNNING
        assert (states(run)["note"], messages) == (StepState.READY, [])
        resume_saga(run, reason="gateway is back")
        assert sorted(messages) == ["sagas.tests.Mild.b", "sagas.tests.Mild.note"]
        assert drive(run).state == SagaState.COMPLETED
        assert set(states(run).values()) == {StepState.SUCCEEDED}

    def test_that_runs_may_end(self) -> None:
        run = retry_step(going(), "note", reason="again")
        note = claimed(run, "note")
        pause_saga(run, reason="gateway is down")
        assert record_outcome(note, DONE)
        assert (states(run)["note"], fresh(run).has_warnings) == (StepState.SUCCEEDED, False)

    def test_of_a_completed_saga_cannot_be_paused(self) -> None:
        run = retry_step(completed(), "note", reason="again")
        refused(lambda: pause_saga(run, reason="x"), "neither running nor compensating")


class TestAFollowUpOfASagaThatTurnsBack:
    @pytest.mark.parametrize(
        ("attempts", "ends", "undo"),
        [(0, "cancelled", []), (1, "compensated", ["undo_note(None)"])],
    )
    def test_before_its_next_attempt_is_undone_if_it_may_have_happened(
        self, attempts: int, ends: str, undo: list[str]
    ) -> None:
        run = retry_step(going(), "note", reason="again")
        for _ in range(attempts):
            record_outcome(claimed(run, "note"), MAYBE)
        CALLS.clear()
        cancel_saga(run, reason="changed their mind")
        assert drive(run).state == SagaState.CANCELLED
        assert (states(run)["note"], CALLS) == (ends, [*undo, "undo_a(a)"])

    @pytest.mark.parametrize("outcome", [DONE, MAYBE])
    def test_that_runs_ends_first_and_is_undone(self, outcome: Succeeded | Failed) -> None:
        run = retry_step(going(), "note", reason="again")
        note = claimed(run, "note")
        CALLS.clear()
        cancel_saga(run, reason="changed their mind")
        assert drive(run).state == SagaState.COMPENSATING
        refused(lambda: retry_step(run, "note", reason="x"), "note is running")
        record_outcome(note, outcome)
        assert drive(run).state == SagaState.CANCELLED
        undone = "note" if outcome is DONE else None
        assert [f"undo_note({undone})", "undo_a(a)"] == CALLS

    def test_that_waits_is_given_up_and_undone(self) -> None:
        run = drive(retry_step(completed(note="wait"), "note", reason="again"))
        assert states(run)["note"] == StepState.WAITING
        compensate_saga(run, reason="returned", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED
        assert "undo_note(None)" in CALLS
        refused(lambda: retry_step(run, "note", reason="x"), "neither failed nor unknown")

    def test_is_not_tried_again_after_the_turn(self) -> None:
        run = cancel_saga(going(), reason="changed their mind")
        assert "retry_step" not in allowed_actions(run)
        refused(lambda: retry_step(run, "note", reason="x"), "it is not going forward")
        run = drive(run)
        refused(lambda: retry_step(run, "note", reason="x"), "it is not going forward")


class TestAFollowUpOfADeadLetter:
    def test_is_not_offered_for_a_step_that_did_not_stop_the_saga(self) -> None:
        run = start_saga(Mild, Script({"note": "permanent", "b": "permanent"}), key="k")
        SagaRun.objects.filter(pk=run.pk).update(pivot_passed=True)
        for _ in range(2):
            run_one(run)
        b = claimed(run, "b")
        record_outcome(b, Failed(code="REFUSED", error="refused"))
        assert fresh(run).state == SagaState.DEAD_LETTER
        assert offered(run, "note") == frozenset()
        refused(lambda: retry_step(run, "note", reason="x"), "note is not what stopped the saga")

    def test_under_way_goes_on_when_the_saga_is_retried(self, messages: list[str]) -> None:
        run = retry_step(going(), "note", reason="again")
        SagaRun.objects.filter(pk=run.pk).update(pivot_passed=True)
        record_outcome(claimed(run, "b"), Failed(code="REFUSED", error="refused"))
        assert fresh(run).state == SagaState.DEAD_LETTER
        assert drive(run).state == SagaState.DEAD_LETTER
        assert states(run)["note"] == StepState.READY
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.COMPLETED
        assert states(run)["note"] == StepState.SUCCEEDED

    def test_runs_no_more_when_the_saga_is_resolved(self) -> None:
        run = retry_step(going(), "note", reason="again")
        SagaRun.objects.filter(pk=run.pk).update(pivot_passed=True)
        record_outcome(claimed(run, "b"), Failed(code="REFUSED", error="refused"))
        resolve_saga(run, reason="by hand")
        CALLS.clear()
        assert drive(run).state == SagaState.RESOLVED
        assert CALLS == []


class TestAFollowUpOfACompletedSaga:
    def test_whose_attempt_is_lost_is_tried_again(self) -> None:
        run = retry_step(completed(), "note", reason="again")
        expire_lease(claimed(run, "note").pk)
        assert sweep().lost == 1
        assert states(run)["note"] == StepState.READY
        assert drive(run).state == SagaState.COMPLETED
        assert states(run)["note"] == StepState.SUCCEEDED

    def test_that_waits_has_its_own_time_and_is_answered(self) -> None:
        run = drive(retry_step(completed(note="wait=600"), "note", reason="again"))
        until = step_of(run, "note").lease_until
        assert until is not None
        assert until - fresh(run).updated_at > timedelta(minutes=5)
        assert fresh(run).has_warnings
        complete_step(run, "note", result=Receipt("note"), reason="they rang")
        assert (fresh(run).state, fresh(run).has_warnings) == (SagaState.COMPLETED, False)
