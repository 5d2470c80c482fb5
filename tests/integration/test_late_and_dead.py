"""Late successes around dead letters: nothing that happened stays behind a run called compensated."""

import pytest
from django.db.models.functions import Now

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import DidNotHappen, Failed, Succeeded
from sagas.engine.recover import sweep
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, retry_saga
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

LATE = Succeeded(output={"of": "late"})


def given_up(run: SagaRun, name: str) -> StepRun:
    attempt = claimed(run, name)
    expire_lease(attempt.pk)
    sweep()
    return attempt


def turned_back_with_two_zombies() -> tuple[SagaRun, StepRun, StepRun]:
    """Step ``b`` was given up twice, and the saga was cancelled: its compensation is ready."""
    run = start_saga(Five, Script(), key="k")
    run_one(run)
    first, second = given_up(run, "b"), given_up(run, "b")
    cancel_saga(run, reason="no longer wanted")
    return run, first, second


class TestTwoZombies:
    def test_the_second_success_is_undone_too(self) -> None:
        run, first, second = turned_back_with_two_zombies()
        record_outcome(first, LATE)
        undoing = claimed(run, "b", "backward")
        record_outcome(second, LATE)
        assert not record_outcome(undoing, Succeeded(output=None))
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "undo_b(late)", "undo_a(a)"]


class TestDeadLetter:
    def test_a_late_success_while_it_stands_still_is_undone_by_the_retry(self) -> None:
        run = start_saga(Five, Script({"undo_a": "permanent"}), key="k")
        run_one(run)
        zombie = given_up(run, "b")
        cancel_saga(run, reason="no longer wanted")
        assert drive(run).state == SagaState.DEAD_LETTER
        assert states(run)["b"] == StepState.COMPENSATED
        record_outcome(zombie, LATE)
        SagaRun.objects.update(input={"faults": {}})
        del CALLS[:]
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.CANCELLED
        assert sorted(CALLS) == ["undo_a(a)", "undo_b(late)"]

    def test_one_undone_again_goes_in_front_of_what_it_depends_on(self) -> None:
        run = start_saga(Five, Script({"undo_b": "permanent"}), key="k")
        run_one(run)
        run_one(run)
        zombie = given_up(run, "c")
        cancel_saga(run, reason="no longer wanted")
        run_one(run)
        record_outcome(zombie, LATE)
        assert states(run, "backward") == {"c": "ready", "b": "pending", "a": "pending"}
        assert drive(run).state == SagaState.DEAD_LETTER
        assert CALLS[-2:] == ["undo_c(late)", "undo_b"]
        SagaRun.objects.update(input={"faults": {}})
        del CALLS[:]
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["undo_b(b)", "undo_a(a)"]

    def test_an_undo_under_way_when_the_late_success_comes_is_done_once_more(self) -> None:
        run = start_saga(Five, Script({"undo_b": "permanent"}), key="k")
        run_one(run)
        run_one(run)
        zombies = [given_up(run, "c"), given_up(run, "c")]
        cancel_saga(run, reason="no longer wanted")
        run_one(run)
        undoing_b = claimed(run, "b", "backward")
        record_outcome(zombies[0], LATE)
        StepRun.objects.filter(run=run, direction="backward", name="c").update(
            state=StepState.READY, pending_predecessors=0, due_at=Now(), send_at=Now()
        )
        undoing = claimed(run, "c", "backward")
        record_outcome(undoing_b, Failed(code="NO", error="no"))
        assert fresh(run).state == SagaState.DEAD_LETTER
        record_outcome(zombies[1], LATE)
        assert not record_outcome(undoing, Succeeded(output=None))
        SagaRun.objects.update(input={"faults": {}})
        del CALLS[:]
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["undo_c(late)", "undo_b(b)", "undo_a(a)"]


class TestPivot:
    def test_a_pivot_that_happened_after_all_leaves_the_run_to_a_human(self) -> None:
        run = start_saga(Diamond, Script(), key="k")
        for name in ("start", "left", "right", "join"):
            run_one(run, name)
        zombie = given_up(run, "pivot")
        second = claimed(run, "pivot")
        StepRun.objects.filter(pk=second.pk).update(in_doubt=False)
        second.in_doubt = False
        record_outcome(second, Failed(code="NO", error="no"))
        assert drive(run).state == SagaState.COMPENSATED
        record_outcome(zombie, LATE)
        stuck = fresh(run)
        assert (stuck.state, stuck.error_code) == (SagaState.DEAD_LETTER, "PIVOT_PASSED")
        assert stuck.pivot_passed

    def test_no_retry_of_a_run_past_its_pivot_ever_calls_it_compensated(self) -> None:
        self.test_a_pivot_that_happened_after_all_leaves_the_run_to_a_human()
        run = SagaRun.objects.get()
        retry_saga(run, reason="let us see")
        assert drive(run).state == SagaState.DEAD_LETTER


class TestAskedBeforeTheDeadLetter:
    def test_a_retry_acts_instead_of_asking_again(self) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = claimed(run, "a")
        StepRun.objects.filter(pk=attempt.pk).update(reconcile_attempts=3, in_doubt=True)
        SagaRun.objects.filter(pk=run.pk).update(pivot_passed=True)
        record_outcome(step_of(run, "a"), DidNotHappen())
        row = step_of(run, "a")
        assert (row.state, row.reconcile_attempts) == (StepState.FAILED, None)
        assert fresh(run).state == SagaState.DEAD_LETTER
        retry_saga(run, reason="again")
        row = step_of(run, "a")
        assert (row.state, row.reconcile_attempts) == (StepState.READY, None)
        assert drive(run).state == SagaState.COMPLETED
