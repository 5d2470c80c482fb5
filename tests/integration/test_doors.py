"""The doors by which Celery reaches the engine, and what handlers may do inside (R31, R50, R73)."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import current_app
from django.db import connections
from django.db.models import F

from sagas import Saga, start_saga, step
from sagas.engine.execute import execute
from sagas.engine.transitions import claim
from sagas.models import SagaRun, StepRun
from sagas.states import EventType, SagaState, StepState
from sagas.worker.tasks import register_step_tasks, step_failed, step_succeeded, sweep
from tests.driving import drive, fresh, run_one, states, step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

UNDONE: list[str] = []


@dataclass(frozen=True)
class Wish:
    """What the handlers do besides their work."""

    slow: bool = False
    tag: str = ""


class Tagged(Saga[Wish]):
    """Sets tags, runs into its time limit, and goes on undoing whatever fails."""

    class Meta:
        label = "tests.Tagged"
        on_compensation_failure = "continue"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def first(self) -> None:
        self.set_tags(carrier=self.input.tag)

    @first.compensation
    def undo_first(self, _: None) -> None:
        UNDONE.append("first")

    @step
    def second(self) -> None:
        """Nothing."""

    @second.compensation(max_retries=0)
    def undo_second(self, _: None) -> None:
        UNDONE.append("second")
        raise KeyError

    @step(soft_time_limit=10)
    def third(self) -> None:
        if self.input.slow:
            raise SoftTimeLimitExceeded

    third.no_compensation("it is the last")


@pytest.fixture(autouse=True)
def _nothing_done(messages: list[str]) -> None:
    UNDONE.clear()


def overdue(run: SagaRun) -> None:
    past = timedelta(minutes=1)
    ready = StepRun.objects.filter(run=run, state=StepState.READY)
    ready.update(
        send_at=F("send_at") - past,
        sent_at=F("sent_at") - past,
        due_at=F("due_at") - past,
    )


class TestSuccessCallback:
    def test_sends_what_is_due_and_nothing_else(self, messages: list[str]) -> None:
        run = start_saga(Five, Script(), key="k")
        row = step_of(run, "a")
        run_one(run)
        messages.clear()
        assert not step_succeeded(str(row.pk), 1)
        assert messages == []
        overdue(run)
        assert step_succeeded(str(row.pk), 1)
        assert messages == ["sagas.tests.Five.b"]


class TestErrorCallback:
    def test_ends_no_attempt_and_only_shortens_its_lease(self) -> None:
        run = start_saga(Five, Script(), key="k")
        row = step_of(run, "a")
        assert claim(row.pk, row.fence, task_id="", worker="")
        before = step_of(run, "a")
        assert step_failed(str(row.pk), before.fence)
        after = step_of(run, "a")
        assert after.state == StepState.RUNNING
        assert before.lease_until is not None
        assert after.lease_until is not None
        assert after.lease_until < before.lease_until

    def test_of_an_attempt_that_is_over_only_has_the_next_step_sent_soon(
        self, messages: list[str]
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        row = step_of(run, "a")
        run_one(run)
        messages.clear()
        assert step_failed(str(row.pk), 1)
        assert step_of(run, "a").state == StepState.SUCCEEDED
        assert sweep() == 1
        assert messages == ["sagas.tests.Five.b"]

    def test_of_a_run_in_which_nothing_waits_does_nothing(self) -> None:
        run = start_saga(Five, Script({"a": "permanent"}), key="k")
        row = step_of(run, "a")
        run_one(run)
        assert not step_failed(str(row.pk), 1)


class TestSweepTask:
    def test_beat_can_sweep_too(self, messages: list[str]) -> None:
        run = start_saga(Five, Script(), key="k")
        overdue(run)
        messages.clear()
        assert sweep() == 1
        assert messages == ["sagas.tests.Five.a"]


@pytest.fixture(scope="module")
def _step_tasks() -> None:
    register_step_tasks(Five.definition)


@pytest.mark.usefixtures("_step_tasks")
class TestStepTasks:
    def test_each_step_and_each_compensation_has_a_task_by_its_name(self) -> None:
        run = start_saga(Five, Script({"b": "permanent"}), key="k")
        assert {f"sagas.tests.Five.{name}" for name in "abcde"} <= current_app.tasks.keys()
        row = step_of(run, "a")
        task = current_app.tasks["sagas.tests.Five.a"]
        assert task(str(row.pk), row.fence) == "REFUSED"  # b, in place
        undo = step_of(run, "a", direction="backward")
        task = current_app.tasks["sagas.tests.Five.a.compensate"]
        assert task(str(undo.pk), undo.fence) == "succeeded"
        assert fresh(run).state == SagaState.COMPENSATED

    def test_the_claim_is_the_health_check_of_a_kept_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def ask() -> bool:
            raise AssertionError("one statement more for every message")

        row = step_of(start_saga(Five, Script(), key="k"), "a")
        monkeypatch.setattr(connections["default"], "health_check_enabled", True)
        monkeypatch.setattr(connections["default"], "is_usable", ask)
        task = current_app.tasks["sagas.tests.Five.a"]
        assert task(str(row.pk), row.fence) == "succeeded"


class TestHandlers:
    def test_tags_that_a_handler_sets_are_there_at_once(self) -> None:
        run = start_saga(Tagged, Wish(tag="dhl"), key="k", tags={"customer": "7"})
        run_one(run)
        assert fresh(run).tags == {"customer": "7", "carrier": "dhl"}
        assert run.events.filter(type=EventType.TAGGED).count() == 1

    def test_a_handler_past_its_soft_time_limit_is_tried_again_and_then_unknown(self) -> None:
        run = drive(start_saga(Tagged, Wish(slow=True), key="k"))
        row = step_of(run, "third")
        assert (row.attempt, row.error_code, row.state) == (2, "STEP_TIMEOUT", "unknown")
        assert "10" in row.error

    def test_undoing_goes_on_past_a_failure_but_never_says_compensated(self) -> None:
        run = drive(start_saga(Tagged, Wish(slow=True), key="k"))
        assert UNDONE == ["second", "first"]
        assert run.state == SagaState.DEAD_LETTER
        assert states(run, "backward") == {"second": "failed", "first": "succeeded"}
        assert "undo_second" in run.compensation_error

    def test_a_compensation_that_this_code_does_not_have_waits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start_saga(Five, Script({"b": "permanent"}), key="k")
        run_one(run)
        run_one(run)
        undo = step_of(run, "a", direction="backward")
        StepRun.objects.filter(run=run, name="a").update(name="gone")
        assert execute(undo.pk, undo.fence) == "UNKNOWN_HANDLER"
        row = StepRun.objects.get(pk=undo.pk)
        assert (row.state, row.attempt, row.error_code) == ("ready", 0, "UNKNOWN_HANDLER")
        assert "gone" in fresh(run).explain()
