"""What ends while a dead letter stands still is taken up by its retry (R49, R50, R77)."""

import pytest
from django.db.models.functions import Now

from sagas import Saga, start_saga, step
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.transitions import claim
from sagas.models import SagaRun, StepRun
from sagas.operations import retry_saga
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, states, step_of
from tests.traced import CALLS, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class Forked(Traced):
    """pivot → {ship ∥ tell → file}; telling is best effort."""

    class Meta:
        label = "tests.Forked"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step(pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step(after=[pivot])
    def ship(self) -> Receipt:
        return self.act("ship")

    @step(after=[pivot], critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")

    @step(after=[tell])
    def file(self) -> Receipt:
        return self.act("file")


def forked(saga: type[Saga[Script]] = Forked) -> SagaRun:
    run = start_saga(saga, Script(), key="k")
    run_one(run)
    return run


def refuse(attempt: StepRun) -> None:
    record_outcome(attempt, Failed(code="REFUSED", error="refused"))


def expire(run: SagaRun) -> None:
    SagaRun.objects.filter(pk=run.pk).update(deadline=Now())
    recover.sweep()


class TestASagaThatStandsStill:
    def test_a_sibling_in_flight_may_succeed_and_its_successor_runs_after_the_retry(self) -> None:
        run = forked()
        ship, tell = claimed(run, "ship"), claimed(run, "tell")
        refuse(ship)
        assert fresh(run).state == SagaState.DEAD_LETTER
        record_outcome(tell, Succeeded(output={"of": "tell"}))
        assert states(run)["file"] == StepState.PENDING
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["pivot", "ship", "file"]

    def test_starts_nothing_new(self) -> None:
        run = forked()
        refuse(claimed(run, "ship"))
        row = step_of(run, "tell")
        assert claim(row.pk, row.fence, task_id="", worker="") is None

    def test_a_best_effort_sibling_may_fail_and_its_successor_runs_after_the_retry(self) -> None:
        run = forked()
        ship, tell = claimed(run, "ship"), claimed(run, "tell")
        refuse(ship)
        refuse(tell)
        retry_saga(run, reason="fixed")
        run = drive(run)
        assert CALLS[:2] == ["pivot", "ship"]
        assert "file" in CALLS
        assert run.state == SagaState.COMPLETED
        assert run.has_warnings

    def test_a_critical_sibling_that_fails_is_retried_too(self) -> None:
        run = forked()
        record_outcome(claimed(run, "tell"), Succeeded(output={"of": "tell"}))
        ship, file = claimed(run, "ship"), claimed(run, "file")
        refuse(ship)
        refuse(file)
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.COMPLETED
        assert sorted(CALLS) == ["file", "pivot", "ship"]


class TestDeadlinePastThePivot:
    def test_when_the_last_step_in_flight_succeeds_a_retry_completes_the_saga(self) -> None:
        run = forked()
        run_one(run, "tell")
        run_one(run, "file")
        last = claimed(run, "ship")
        expire(run)
        record_outcome(last, Succeeded(output={"of": "ship"}))
        assert fresh(run).state == SagaState.DEAD_LETTER
        retry_saga(run, reason="it went well")
        assert drive(run).state == SagaState.COMPLETED

    def test_a_best_effort_step_between_attempts_does_not_block_the_retry(self) -> None:
        run = forked()
        run_one(run, "ship")
        tell = claimed(run, "tell")
        record_outcome(tell, Failed(code="X", error="x", retryable=True, in_doubt=True))
        expire(run)
        assert fresh(run).state == SagaState.DEAD_LETTER
        retry_saga(run, reason="more time")
        assert drive(run).state == SagaState.COMPLETED
        assert "file" in CALLS

    def test_a_best_effort_step_that_fails_in_flight_does_not_block_the_retry(self) -> None:
        run = forked()
        run_one(run, "ship")
        tell = claimed(run, "tell")
        expire(run)
        refuse(tell)
        assert fresh(run).state == SagaState.DEAD_LETTER
        retry_saga(run, reason="more time")
        assert drive(run).state == SagaState.COMPLETED
        assert "file" in CALLS
