"""Late words and human decisions while a saga is being undone, which a search through its states found."""

import pytest

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.recover import sweep
from sagas.engine.transitions import record_heartbeat
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, compensate_saga, retry_saga, skip_step
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, step_of
from tests.integration.test_doubt import Holding, Pivotal
from tests.traced import CALLS, Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

TIMED_OUT = Failed(code="TimeoutError", error="no answer", retryable=True, in_doubt=True)


def give_up(attempt: StepRun) -> StepRun:
    expire_lease(attempt.pk)
    sweep()
    return attempt


class TestProgress:
    def test_progress_of_an_undo_that_came_too_early_is_void_between_its_attempts_too(self) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = give_up(claimed(run, "a"))
        cancel_saga(run, reason="no longer wanted")
        undo = claimed(run, "a", "backward")
        assert record_heartbeat(undo, {"all": "done"})
        give_up(undo)
        assert step_of(run, "a", direction="backward").state == StepState.READY
        record_outcome(attempt, Succeeded(output={"of": "late"}))
        again = step_of(run, "a", direction="backward")
        assert (again.heartbeat, again.attempt) == (None, 0)
        assert drive(run).state == SagaState.CANCELLED


class TestASkippedStep:
    def test_that_may_have_happened_is_not_run_again_behind_the_pivot(self) -> None:
        run = start_saga(Pivotal, Script(), key="k")
        row = step_of(run, "reserve")
        StepRun.objects.filter(pk=row.pk).update(options={**row.options, "max_retries": 1})
        attempt = give_up(claimed(run, "reserve"))
        skip_step(run, "reserve", reason="done by phone")
        ship = claimed(run, "ship")
        record_outcome(attempt, TIMED_OUT)
        SagaRun.objects.update(deadline=run.created_at)
        sweep()
        assert fresh(run).state == SagaState.COMPENSATING
        record_outcome(ship, Succeeded(output={"of": "ship"}))
        assert fresh(run).state == SagaState.DEAD_LETTER
        retry_saga(run, reason="goes on")
        assert drive(run).state == SagaState.COMPLETED
        assert not any(call.startswith("reserve") for call in CALLS)


class TestAFailedUndo:
    def test_is_tried_again_when_the_hold_beside_it_is_released(self) -> None:
        run = start_saga(Holding, "x", key="k")
        wire = give_up(claimed(run, "wire"))
        skip_step(run, "wire", reason="the bank knows nothing of it")
        record_outcome(claimed(run, "other"), TIMED_OUT)
        undo = claimed(run, "other", "backward")
        record_outcome(wire, TIMED_OUT)
        record_outcome(undo, Failed(code="NO", error="not now"))
        assert fresh(run).state == SagaState.DEAD_LETTER
        compensate_saga(run, reason="rather twice than never")
        assert drive(run).state == SagaState.COMPENSATED
        assert sorted(CALLS) == ["undo_other", "unwire(None)"]
