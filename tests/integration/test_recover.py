"""The sweep finds what no callback told (R31, R33, R57, R73, R83, and what a deploy lost)."""

from datetime import timedelta

import pytest
from django.db.models import F, Q
from django.db.models.functions import Now

from sagas import start_saga
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.transitions import claim, renew_lease, shorten_lease
from sagas.models import SagaRun, StepRun, SweepRecord
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, expire_lease, fresh, run_one, step_of
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(messages: list[str]) -> SagaRun:
    started = start_saga(Five, Script(), key="k")
    messages.clear()
    return started


def claimed(run: SagaRun, name: str = "a") -> StepRun:
    row = step_of(run, name)
    attempt = claim(row.pk, row.fence, task_id="t", worker="w")
    assert attempt is not None
    return attempt


def age(run: SagaRun, seconds: float) -> None:
    """Let time pass for the ready steps."""
    past = timedelta(seconds=seconds)
    ready = StepRun.objects.filter(run=run, state=StepState.READY)
    ready.update(
        send_at=F("send_at") - past,
        sent_at=F("sent_at") - past,
        due_at=F("due_at") - past,
    )


class TestSending:
    def test_a_message_just_sent_is_left_alone(self, run: SagaRun, messages: list[str]) -> None:
        assert recover.sweep().sent == 0
        assert messages == []

    def test_an_unclaimed_message_is_sent_again_after_the_grace(
        self, run: SagaRun, messages: list[str]
    ) -> None:
        age(run, 11)
        assert recover.sweep().sent == 1
        assert messages == ["sagas.tests.Five.a"]
        assert recover.sweep().sent == 0

    @pytest.mark.parametrize(
        ("is_empty", "expected_delays"), [(False, (20, 40, 60)), (True, (10, 10, 10))]
    )
    def test_the_interval_doubles_with_the_age_unless_nothing_waits_in_the_queue(
        self,
        run: SagaRun,
        messages: list[str],
        monkeypatch: pytest.MonkeyPatch,
        is_empty: bool,  # noqa: FBT001
        expected_delays: tuple[int, ...],
    ) -> None:
        monkeypatch.setattr("sagas.engine.dispatch.is_empty", lambda _: is_empty)
        for waited, expected in zip((11, 21, 41), expected_delays, strict=True):
            age(run, waited)
            recover.sweep()
            in_time = Q(send_at__lte=Now() + timedelta(seconds=expected + 2))
            in_time &= Q(send_at__gte=Now() + timedelta(seconds=expected - 2))
            assert StepRun.objects.filter(in_time, run=run, name="a").exists()

    def test_a_retry_is_sent_when_it_is_due(self, run: SagaRun, messages: list[str]) -> None:
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {"a": "network"}})
        run_one(run)
        row = step_of(run, "a")
        assert (row.state, row.attempt) == (StepState.READY, 1)
        assert recover.sweep().sent == 0
        age(run, 2)
        assert recover.sweep().sent == 1

    def test_a_step_of_a_run_that_stands_still_is_not_sent(
        self, run: SagaRun, messages: list[str]
    ) -> None:
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.DEAD_LETTER)
        age(run, 11)
        assert recover.sweep().sent == 0


class TestLostAttempts:
    def test_a_living_attempt_is_left_alone(self, run: SagaRun) -> None:
        claimed(run)
        assert recover.sweep().lost == 0

    def test_a_lost_attempt_is_tried_again_at_once_with_a_new_fence(
        self, run: SagaRun, messages: list[str]
    ) -> None:
        attempt = claimed(run)
        expire_lease(attempt.pk)
        report = recover.sweep()
        assert (report.lost, report.sent) == (1, 1)
        row = step_of(run, "a")
        assert (row.state, row.fence, row.attempt) == (StepState.READY, 1, 1)
        assert row.in_doubt
        assert drive(run).state == SagaState.COMPLETED

    def test_when_the_attempts_are_spent_the_outcome_is_unknown(self, run: SagaRun) -> None:
        for _ in range(3):
            expire_lease(claimed(run).pk)
            recover.sweep()
        row = step_of(run, "a")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "WORKER_LOST")
        drive(run)
        assert CALLS == ["undo_a(None)"]
        assert fresh(run).state == SagaState.COMPENSATED

    def test_the_result_of_an_attempt_that_was_given_up_changes_nothing(self, run: SagaRun) -> None:
        stalled = claimed(run)
        expire_lease(stalled.pk)
        recover.sweep()
        second = claimed(run)
        assert record_outcome(second, Succeeded(output={"of": "second"}))
        assert not record_outcome(stalled, Succeeded(output={"of": "stalled"}))
        assert step_of(run, "a").output == {"of": "second"}
        late = run.events.get(type=EventType.STEP_LATE)
        assert (late.step_id, late.attempt) == (stalled.pk, 1)

    def test_an_error_callback_shortens_the_lease_and_a_living_process_renews_it(
        self, run: SagaRun
    ) -> None:
        attempt = claimed(run)
        assert shorten_lease(attempt.pk, attempt.fence)
        short = step_of(run, "a").lease_until
        assert renew_lease(attempt.pk, attempt.fence)
        renewed = step_of(run, "a").lease_until
        assert short is not None
        assert renewed is not None
        assert renewed - short > timedelta(seconds=10)

    def test_a_forged_or_old_fence_moves_no_lease(self, run: SagaRun) -> None:
        attempt = claimed(run)
        assert not shorten_lease(attempt.pk, attempt.fence + 1)
        assert not renew_lease(attempt.pk, attempt.fence - 1)


class TestAfterAnOutage:
    """No sweep happened for a while: was the database away for everybody, or the sweeper alone?"""

    def test_an_attempt_that_could_not_be_renewed_may_prove_that_it_lives(
        self, run: SagaRun
    ) -> None:
        attempt = claimed(run)
        swept(ago=20)
        leased(attempt, -5)
        assert recover.sweep().lost == 0
        assert 4 < lease_left(attempt) <= 5
        assert recover.sweep().lost == 0
        assert renew_lease(attempt.pk, attempt.fence)
        assert record_outcome(attempt, Succeeded(output={"of": "a"}))

    def test_an_attempt_that_does_not_prove_that_it_lives_is_given_up_and_never_spared_again(
        self, run: SagaRun
    ) -> None:
        attempt = claimed(run)
        swept(ago=20)
        leased(attempt, -5)
        recover.sweep()
        swept(ago=60)
        leased(attempt, lease_left(attempt) - 60)
        assert recover.sweep().lost == 1

    def test_an_attempt_that_was_silent_before_is_given_up_at_once(self, run: SagaRun) -> None:
        attempt = claimed(run)
        swept(ago=20)
        leased(attempt, -13)
        assert recover.sweep().lost == 1

    def test_a_pause_of_half_a_lease_spares_nobody(self, run: SagaRun) -> None:
        attempt = claimed(run)
        swept(ago=7)
        leased(attempt, 0.7)
        assert recover.sweep().lost == 0
        assert lease_left(attempt) < 1

    def test_a_sweep_that_was_stopped_in_the_middle_gives_up_nobody(self, run: SagaRun) -> None:
        attempt = claimed(run)
        swept(ago=20)
        leased(attempt, -5)
        assert recover.end_lost_attempts(10) == 0
        swept(ago=1)
        assert recover.end_lost_attempts(10) == 1

    def test_a_lone_worker_that_was_killed_and_comes_back_in_time_delays_nothing(
        self, run: SagaRun
    ) -> None:
        attempt = claimed(run)
        swept(ago=9)
        leased(attempt, 6)
        recover.sweep()
        assert 5 < lease_left(attempt) <= 6


def swept(*, ago: float) -> None:
    """Say when the last sweep was, in seconds."""
    moment = Now() - timedelta(seconds=ago)
    SweepRecord.objects.update_or_create(pk=1, defaults={"swept_at": moment})


def leased(attempt: StepRun, seconds: float) -> None:
    """Let the lease of an attempt end in so many seconds."""
    until = Now() + timedelta(seconds=seconds)
    StepRun.objects.filter(pk=attempt.pk).update(lease_until=until)


def lease_left(attempt: StepRun) -> float:
    """Return for how many seconds the attempt is still leased, by the database's clock."""
    of_attempt = StepRun.objects.filter(pk=attempt.pk).annotate(left=F("lease_until") - Now())
    left: timedelta = of_attempt.values_list("left", flat=True).get()
    return left.total_seconds()


class TestDeadline:
    def test_a_run_within_its_deadline_goes_on(self, run: SagaRun) -> None:
        assert recover.sweep().expired == 0

    def test_a_run_past_its_deadline_turns_back(self, run: SagaRun) -> None:
        run_one(run)
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - timedelta(seconds=1))
        assert recover.sweep().expired == 1
        run = drive(run)
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "EXECUTION_TIMEOUT")
        assert CALLS == ["a", "undo_a(a)"]

    def test_the_deadline_never_stops_a_compensation(self, run: SagaRun) -> None:
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {"b": "permanent"}})
        run_one(run)
        run_one(run)
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - timedelta(hours=1))
        assert recover.sweep().expired == 0
        assert drive(run).state == SagaState.COMPENSATED

    def test_past_the_pivot_an_expired_run_waits_for_a_human(self) -> None:
        run = start_saga(Diamond, Script(), key="d")
        for name in ("start", "left", "right", "join", "pivot"):
            run_one(run, name)
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - timedelta(seconds=1))
        recover.sweep()
        run = fresh(run)
        assert (run.state, run.error_code) == (SagaState.DEAD_LETTER, "PIVOT_PASSED")


class TestUnknownHandler:
    def test_a_step_of_an_unknown_handler_waits_and_says_so(self, run: SagaRun) -> None:
        SagaRun.objects.filter(pk=run.pk).update(label="gone.Saga")
        row = step_of(run, "a")
        assert execute(row.pk, row.fence) == "UNKNOWN_SAGA"
        row = step_of(run, "a")
        assert (row.state, row.attempt) == (StepState.READY, 0)
        assert "gone.Saga" in fresh(run).explain()

    def test_the_sweep_tells_once_of_an_unknown_handler(self, run: SagaRun) -> None:
        SagaRun.objects.filter(pk=run.pk).update(label="gone.Saga")
        for _ in range(2):
            age(run, 400)
            assert recover.sweep().sent == 1
        assert run.events.filter(type=EventType.UNKNOWN_HANDLER).count() == 1
        assert step_of(run, "a").error_code == "UNKNOWN_SAGA"


class TestTurns:
    def test_one_process_sweeps_per_interval(self) -> None:
        assert not recover.sweep(worker="one", force=False).skipped
        assert recover.sweep(worker="two", force=False).skipped
        assert SweepRecord.objects.get().worker == "one"

    def test_the_next_interval_is_free_for_any(self) -> None:
        recover.sweep(worker="one", force=False)
        SweepRecord.objects.update(swept_at=Now() - timedelta(seconds=2))
        assert not recover.sweep(worker="two", force=False).skipped
