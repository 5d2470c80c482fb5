"""A success that comes after its attempt was given up counts, and is undone (R42)."""

import threading
import time

import pytest
from django.db import connections, transaction

from sagas import start_saga
from sagas.engine.advance import postpone, record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.recover import sweep
from sagas.exceptions import UnknownHandler
from sagas.models import StepRun
from sagas.operations import cancel_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

LATE = Succeeded(output={"of": "late"})


@pytest.fixture
def stalled() -> StepRun:
    """The last attempt of step ``b``, given up: its outcome is unknown, and the saga turns back."""
    run = start_saga(Five, Script(), key="k")
    run_one(run)
    for _ in range(3):
        attempt = claimed(run, "b")
        expire_lease(attempt.pk)
        sweep()
    assert step_of(run, "b").state == StepState.UNKNOWN
    assert fresh(run).state == SagaState.COMPENSATING
    return attempt


class TestALateSuccessBeforeTheUndo:
    def test_gives_its_result_to_the_compensation(self, stalled: StepRun) -> None:
        assert not record_outcome(stalled, LATE)
        run = drive(stalled.run)
        assert CALLS == ["a", "undo_b(late)", "undo_a(a)"]
        assert run.state == SagaState.COMPENSATED
        assert run.events.filter(type=EventType.STEP_LATE).count() == 1


class TestALateSuccessDuringTheUndo:
    def test_is_undone_once_more_with_the_result(self, stalled: StepRun) -> None:
        run = stalled.run
        undoing = claimed(run, "b", "backward")
        record_outcome(stalled, LATE)
        assert not record_outcome(undoing, Succeeded(output=None))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["a", "undo_b(late)", "undo_a(a)"]


@pytest.mark.postgres
def test_an_undo_that_is_claimed_while_the_chain_is_made_anew_ends_first(stalled: StepRun) -> None:
    run = stalled.run
    run_one(run)
    claims, held = [], threading.Event()

    def claim_slowly() -> None:
        with transaction.atomic():
            claims.append(claimed(run, "a", "backward"))
            held.set()
            time.sleep(0.5)
        connections.close_all()

    thread = threading.Thread(target=claim_slowly)
    thread.start()
    held.wait(10)
    record_outcome(stalled, LATE)
    thread.join()
    assert states(run, "backward") == {"b": StepState.PENDING, "a": StepState.RUNNING}
    record_outcome(claims[0], Succeeded(output=None))
    assert drive(run).state == SagaState.COMPENSATED
    assert CALLS == ["a", "undo_b(None)", "undo_b(late)"]


@pytest.mark.parametrize("how", ["its process is lost", "nobody has its handler"])
def test_an_undo_that_is_tried_again_waits_for_what_is_to_be_undone_before_it(
    stalled: StepRun, how: str
) -> None:
    run = stalled.run
    run_one(run)
    undoing = claimed(run, "a", "backward")
    record_outcome(stalled, LATE)
    if how == "nobody has its handler":
        assert postpone(undoing, UnknownHandler("not here"))
    else:
        expire_lease(undoing.pk)
        sweep()
    assert states(run, "backward") == {"b": StepState.READY, "a": StepState.PENDING}
    assert drive(run).state == SagaState.COMPENSATED
    assert CALLS == ["a", "undo_b(None)", "undo_b(late)", "undo_a(a)"]


class TestALateSuccessAfterTheUndo:
    def test_is_undone_once_more_while_the_chain_still_runs(self, stalled: StepRun) -> None:
        run = stalled.run
        run_one(run)
        assert states(run)["b"] == StepState.COMPENSATED
        record_outcome(stalled, LATE)
        run = drive(run)
        assert sorted(CALLS[1:]) == ["undo_a(a)", "undo_b(None)", "undo_b(late)"]
        assert (run.state, states(run)["b"]) == (SagaState.COMPENSATED, StepState.COMPENSATED)

    def test_reopens_a_run_that_had_ended_and_it_ends_again(self, stalled: StepRun) -> None:
        run = drive(stalled.run)
        assert run.state == SagaState.COMPENSATED
        record_outcome(stalled, LATE)
        reopened = fresh(run)
        assert (reopened.state, reopened.completed_at) == (SagaState.COMPENSATING, None)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["a", "undo_b(None)", "undo_a(a)", "undo_b(late)"]
        assert run.events.filter(type=EventType.REOPENED).count() == 1

    def test_that_is_reported_twice_changes_nothing_the_second_time(self, stalled: StepRun) -> None:
        run = drive(stalled.run)
        record_outcome(stalled, LATE)
        drive(run)
        del CALLS[:]
        record_outcome(stalled, Failed(code="X", error="x"))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == []


class TestALateSuccessInOtherStates:
    def test_leaves_it_to_another_attempt_that_is_under_way(self) -> None:
        run = start_saga(Five, Script(), key="k")
        first = claimed(run, "a")
        expire_lease(first.pk)
        sweep()
        second = claimed(run, "a")
        record_outcome(first, LATE)
        assert step_of(run, "a").state == StepState.RUNNING
        record_outcome(second, Succeeded(output={"of": "a"}))
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "a").output == {"of": "a"}

    def test_between_two_attempts_is_the_outcome(self) -> None:
        run = start_saga(Five, Script(), key="k")
        first = claimed(run, "a")
        expire_lease(first.pk)
        sweep()
        record_outcome(first, LATE)
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "a").output == {"of": "late"}
        assert "a" not in CALLS

    def test_after_a_definite_no_joins_the_undo_chain(self) -> None:
        run = start_saga(Five, Script(), key="k")
        stale = claimed(run, "a")
        expire_lease(stale.pk)
        sweep()
        second = claimed(run, "a")
        StepRun.objects.filter(pk=second.pk).update(in_doubt=False)
        second = replace_doubt(second)
        record_outcome(second, Failed(code="NO", error="no"))
        assert fresh(run).state == SagaState.COMPENSATED
        record_outcome(stale, LATE)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_a(late)"]

    def test_of_a_best_effort_step_is_shown_as_a_success(self) -> None:
        run = start_saga(Diamond, Script(), key="k")
        for name in ("start", "left", "right", "join", "pivot", "ship"):
            run_one(run, name)
        for _ in range(2):
            tell = claimed(run, "tell")
            expire_lease(tell.pk)
            sweep()
        assert fresh(run).state == SagaState.COMPLETED
        record_outcome(tell, LATE)
        assert step_of(run, "tell").state == StepState.SUCCEEDED
        assert fresh(run).state == SagaState.COMPLETED

    def test_of_a_cancelled_run_is_undone_and_the_run_is_cancelled_again(self) -> None:
        run = start_saga(Five, Script(), key="k")
        first = claimed(run, "a")
        expire_lease(first.pk)
        sweep()
        cancel_saga(run, reason="no longer wanted")
        assert drive(run).state == SagaState.CANCELLED
        record_outcome(first, LATE)
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["undo_a(None)", "undo_a(late)"]


def replace_doubt(step: StepRun) -> StepRun:
    """Return the attempt as if nothing before it had been in doubt."""
    step.in_doubt = False
    return step
