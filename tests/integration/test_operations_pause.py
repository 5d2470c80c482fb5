"""Pausing a saga and letting it go on (R48, R57)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.core.management import call_command
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from sagas import start_saga, step
from sagas.engine import recover, transitions
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded, Waiting
from sagas.engine.execute import execute
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    cancel_saga,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, states, step_of
from tests.traced import CALLS, Diamond, Five, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def five(done: int = 0, **faults: str) -> SagaRun:
    run = start_saga(Five, Script(faults), key="k")
    for _ in range(done):
        run_one(run)
    return run


def let_time_pass(run: SagaRun, hours: float) -> None:
    """Move the run, and the pause, into the past."""
    past = timedelta(hours=hours)
    SagaRun.objects.filter(pk=run.pk).update(
        deadline=F("deadline") - past, paused_at=F("paused_at") - past
    )
    StepRun.objects.filter(run=run, state=StepState.WAITING).update(
        lease_until=F("lease_until") - past
    )
    StepRun.objects.filter(run=run).update(
        expires_at=F("expires_at") - past, send_at=F("send_at") - past, due_at=F("due_at") - past
    )


class TestPause:
    def test_no_step_is_claimed_not_even_by_a_message_that_is_under_way(self) -> None:
        run = five(1)
        row = step_of(run, "b")
        paused = pause_saga(run, reason="gateway is down", actor="ann")
        assert paused.paused_at is not None
        assert paused.state == SagaState.RUNNING
        assert execute(row.pk, row.fence) == "not claimed"
        assert execute(row.pk, step_of(run, "b").fence) == "not claimed"
        assert CALLS == ["a"]
        event = run.events.get(type=EventType.PAUSED)
        assert (event.actor, event.note) == ("ann", "gateway is down")

    def test_nothing_is_sent_by_the_sweep_or_by_what_ends(self, messages: list[str]) -> None:
        run = five()
        attempt = claimed(run, "a")
        pause_saga(run, reason="x")
        messages.clear()
        assert record_outcome(attempt, Succeeded(output={"of": "a"}))
        assert states(run)["b"] == StepState.READY
        let_time_pass(run, hours=1)
        assert recover.sweep().total == 0
        assert messages == []

    def test_a_running_step_may_fail_and_the_saga_turns_back_when_it_is_resumed(
        self, messages: list[str]
    ) -> None:
        run = five(1)
        attempt = claimed(run, "b")
        pause_saga(run, reason="x")
        record_outcome(attempt, Failed(code="REFUSED", error="refused"))
        assert fresh(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPENSATING
        messages.clear()
        resume_saga(run, reason="y")
        assert messages == ["sagas.tests.Five.a.compensate"]
        assert drive(run).state == SagaState.COMPENSATED

    def test_a_cancelled_saga_stays_paused_until_it_is_resumed(self) -> None:
        run = five(2)
        pause_saga(run, reason="x")
        cancel_saga(run, reason="y")
        assert drive(run).state == SagaState.COMPENSATING
        assert "paused since" in fresh(run).explain()
        resume_saga(run, reason="z")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "b", "undo_b(b)", "undo_a(a)"]

    def test_the_last_step_may_end_and_complete_the_saga_which_is_paused_no_more(self) -> None:
        run = five(4)
        attempt = claimed(run, "e")
        pause_saga(run, reason="x")
        record_outcome(attempt, Succeeded(output={"of": "e"}))
        ended = fresh(run)
        assert (ended.state, ended.paused_at) == (SagaState.COMPLETED, None)

    def test_a_dead_worker_is_noticed_all_the_same_and_the_step_waits(self) -> None:
        run = five()
        attempt = claimed(run, "a")
        pause_saga(run, reason="x")
        StepRun.objects.filter(pk=attempt.pk).update(lease_until=Now() - timedelta(seconds=1))
        assert recover.sweep().lost == 1
        assert drive(run).next_step() == step_of(run, "a")
        assert CALLS == []
        resume_saga(run, reason="y")
        assert drive(run).state == SagaState.COMPLETED


class TestResume:
    def test_a_resumed_saga_goes_on_where_it_was(self, messages: list[str]) -> None:
        run = start_saga(Diamond, Script(), key="d")
        run_one(run)
        pause_saga(run, reason="x")
        messages.clear()
        resumed = resume_saga(run, reason="gateway is back", actor="bob")
        assert resumed.paused_at is None
        assert sorted(messages) == ["sagas.tests.Diamond.left", "sagas.tests.Diamond.right"]
        event = run.events.get(type=EventType.RESUMED)
        assert (event.actor, event.note) == ("bob", "gateway is back")
        assert drive(run).state == SagaState.COMPLETED
        assert len(CALLS) == len(set(CALLS)) == 7

    def test_the_deadline_does_not_count_while_a_saga_is_paused(self) -> None:
        run = five(1)
        left = fresh(run).deadline - fresh(run).created_at
        pause_saga(run, reason="x")
        let_time_pass(run, hours=2)
        assert recover.sweep().expired == 0
        resumed = resume_saga(run, reason="y")
        assert abs(resumed.deadline - resumed.created_at - left) < timedelta(seconds=10)
        assert recover.sweep().expired == 0
        assert drive(run).state == SagaState.COMPLETED

    def test_the_time_of_a_step_does_not_count_while_a_saga_is_paused(self) -> None:
        run = five(1, b="once-network")
        run_one(run)
        StepRun.objects.filter(run=run, name="b").update(
            timeout=timedelta(minutes=1), expires_at=Now() + timedelta(minutes=1)
        )
        pause_saga(run, reason="x")
        let_time_pass(run, hours=2)
        resume_saga(run, reason="y")
        assert drive(run).state == SagaState.COMPLETED

    def test_resuming_twice_is_refused(self) -> None:
        run = pause_saga(five(1), reason="x", actor="ann")
        with pytest.raises(ActionNotAllowed, match=r"Paused by hand, ann.*it is paused already"):
            pause_saga(run, reason="x")
        resume_saga(run, reason="x", actor="bob")
        with pytest.raises(ActionNotAllowed, match=r"Resumed by hand, bob.*it is not paused"):
            resume_saga(run, reason="x")


class Insistent(Traced):
    """Its dead letters are retried by themselves."""

    class Meta:
        label = "tests.Insistent"
        auto_retry = 3

    @step(pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step
    def ship(self) -> Receipt:
        return self.act("ship")


def stuck_while_paused() -> SagaRun:
    """A dead letter whose attempt failed when the saga had been paused."""
    run = start_saga(Insistent, Script(), key="k")
    run_one(run, "pivot")
    ship = claimed(run, "ship")
    pause_saga(run, reason="gateway is down")
    record_outcome(ship, Failed(code="REFUSED", error="refused"))
    CALLS.clear()
    return fresh(run)


class TestAPausedDeadLetter:
    def test_is_paused_still_and_says_so(self) -> None:
        run = stuck_while_paused()
        assert (run.state, run.paused_at is None) == (SagaState.DEAD_LETTER, False)
        assert "paused since" in run.explain()
        assert "until it is resumed" in run.explain()

    def test_is_not_retried_by_itself_before_it_is_resumed(self, messages: list[str]) -> None:
        run = stuck_while_paused()
        SagaRun.objects.filter(pk=run.pk).update(auto_retry_at=Now())
        messages.clear()
        assert recover.sweep().total == 0
        resumed = resume_saga(run, reason="gateway is back")
        assert (resumed.state, resumed.paused_at) == (SagaState.DEAD_LETTER, None)
        assert (messages, CALLS) == ([], [])
        assert recover.sweep().retried == 1
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["ship"]

    @pytest.mark.parametrize("verb", [retry_saga, partial(retry_step, name="ship")])
    def test_retried_by_hand_goes_on_when_it_is_resumed(
        self, verb: Callable[..., SagaRun], messages: list[str]
    ) -> None:
        run = stuck_while_paused()
        messages.clear()
        retried = verb(run, reason="they promised")
        assert (retried.state, retried.paused_at is None) == (SagaState.RUNNING, False)
        assert "paused since" in retried.explain()
        assert drive(run).state == SagaState.RUNNING
        assert (messages, CALLS) == ([], [])
        resume_saga(run, reason="gateway is back")
        assert messages == ["sagas.tests.Insistent.ship"]
        assert drive(run).state == SagaState.COMPLETED

    def test_skipped_by_hand_goes_on_when_it_is_resumed(self, messages: list[str]) -> None:
        run = stuck_while_paused()
        assert skip_step(run, "ship", reason="by courier").state == SagaState.COMPLETED
        assert fresh(run).paused_at is None

    def test_has_a_fresh_deadline_that_begins_when_it_is_resumed(self) -> None:
        run = stuck_while_paused()
        let_time_pass(run, hours=2)
        retry_saga(run, reason="they promised")
        let_time_pass(run, hours=1)
        resumed = resume_saga(run, reason="gateway is back")
        assert remaining(resumed.deadline) == pytest.approx(15 * 60, abs=30)

    def test_is_paused_no_more_in_a_final_state(self) -> None:
        resolved = resolve_saga(stuck_while_paused(), reason="by hand")
        assert (resolved.state, resolved.paused_at) == (SagaState.RESOLVED, None)


class TestTimeThatIsSetDuringAPause:
    def test_a_wait_has_its_own_time_and_no_more(self) -> None:
        run = five()
        attempt = claimed(run, "a")
        pause_saga(run, reason="x")
        let_time_pass(run, hours=1)
        record_outcome(attempt, Waiting(timeout=timedelta(minutes=10)))
        let_time_pass(run, hours=1)
        assert recover.sweep().total == 0
        resume_saga(run, reason="y")
        assert remaining(step_of(run, "a").lease_until) == pytest.approx(600, abs=30)

    def test_the_wait_of_a_compensation_has_its_own_time_and_no_more(self) -> None:
        run = five(1)
        cancel_saga(run, reason="x")
        attempt = claimed(run, "a", "backward")
        pause_saga(run, reason="x")
        let_time_pass(run, hours=1)
        SagaRun.objects.filter(pk=run.pk).update(created_at=F("created_at") - timedelta(hours=1))
        record_outcome(attempt, Waiting())
        resume_saga(run, reason="y")
        until = step_of(run, "a", direction="backward").lease_until
        assert remaining(until) == pytest.approx(15 * 60, abs=30)

    def test_a_step_s_own_time_does_not_end_in_it(self) -> None:
        run = five()
        StepRun.objects.filter(run=run, name="a").update(timeout=timedelta(minutes=1))
        attempt = claimed(run, "a")
        pause_saga(run, reason="x")
        let_time_pass(run, hours=1)
        record_outcome(attempt, Failed(code="BUSY", error="busy", retryable=True))
        assert states(run)["a"] == StepState.READY
        resume_saga(run, reason="y")
        assert drive(run).state == SagaState.COMPLETED

    def test_a_saga_that_ends_during_a_pause_leaves_a_follow_up_its_time(self) -> None:
        run = start_saga(Diamond, Script({"tell": "permanent"}), key="k")
        drive(run)
        SagaRun.objects.filter(pk=run.pk).update(
            state=SagaState.RUNNING, completed_at=None, remaining=1
        )
        retry_step(run, "tell", reason="again")
        tell = claimed(run, "tell")
        pause_saga(run, reason="x")
        let_time_pass(run, hours=1)
        record_outcome(tell, Waiting(timeout=timedelta(minutes=10)))
        with transitions.change(run.pk) as change:
            transitions.move_run(change, SagaState.COMPLETED, EventType.COMPLETED)
        assert fresh(run).paused_at is None
        assert remaining(step_of(run, "tell").lease_until) == pytest.approx(600, abs=30)


def remaining(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - timezone.now()).total_seconds()


class TestWhatIsSaidOfAPause:
    def test_the_command_line_says_since_when_a_saga_is_paused(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = pause_saga(five(1), reason="x")
        call_command("saga", "show", str(run.pk))
        assert "paused since" in capsys.readouterr().out

    def test_a_paused_saga_is_not_called_stale(self) -> None:
        run = pause_saga(five(1), reason="x")
        later = run.updated_at + timedelta(hours=1)
        assert not SagaRun.objects.stale(later).exists()
        resume_saga(run, reason="y")
        assert SagaRun.objects.stale(later).exists()
