"""What begins once more begins afresh, under the same key; and only where its saga goes (R77, R89, R90)."""

import threading
import time
from datetime import datetime, timedelta
from unittest.mock import patch

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now

from sagas import Saga, Wait, start_saga, step
from sagas.conf import SagaSettings
from sagas.engine import advance
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.recover import sweep
from sagas.engine.transitions import Claimant, claim, record_heartbeat
from sagas.exceptions import PermanentError, UnknownHandler
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, retry_saga, retry_step
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, run_one, states, step_of
from tests.traced import CALLS, Five, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

LONG_AGO = timedelta(days=1)
LATE = Succeeded(output={"of": "late"})


class Chunks(Saga[str]):
    """Undoing goes on from its last heartbeat, as a handler may."""

    class Meta:
        label = "tests.SecondChunks"
        step_defaults = {"max_retries": 0}

    @step
    def load(self) -> Receipt:
        return Receipt("load")

    @load.compensation
    def unload(self, receipt: Receipt | None) -> None:
        if self.last_heartbeat == "all":
            CALLS.append("nothing left")
            return
        CALLS.append(f"unload({receipt.of if receipt else None})")
        self.heartbeat("all")


class Timed(Saga[str]):
    """A step with a timeout, behind the point of no return, that waits or works as the input says."""

    class Meta:
        label = "tests.SecondTimed"

    @step(pivot=True)
    def pay(self) -> str:
        return "paid"

    @step(timeout=60, max_retries=3, retry_jitter=False)
    def label_parcel(self) -> str:
        CALLS.append("label")
        if self.run.failed_step == "" and len(CALLS) == 1:
            message = "the carrier has no account"
            raise PermanentError(message)
        if self.input == "wait":
            raise Wait("the carrier", timeout=timedelta(hours=1))
        if self.input == "network" and self.attempt == 1:
            message = "once"
            raise ConnectionError(message)
        return "label"


class Told(Traced):
    """A best-effort step that can be asked about."""

    class Meta:
        label = "tests.SecondTold"
        step_defaults = {"max_retries": 0}

    @step
    def first(self) -> Receipt:
        return self.act("first")

    first.no_compensation("reads only")

    @step(critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")

    tell.no_compensation("a message cannot be unsent")

    @tell.reconcile
    def was_told(self) -> Receipt | None:
        return None if self.input.faults.get("ask") == "no" else Receipt("asked")


class Fork(Traced):
    """a → x, beside b and c."""

    class Meta:
        label = "tests.SecondFork"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def a(self) -> Receipt:
        return self.act("a")

    @a.compensation
    def undo_a(self, receipt: Receipt | None) -> None:
        self.undo("undo_a", receipt)

    @step
    def x(self) -> Receipt:
        return self.act("x")

    @x.compensation
    def undo_x(self, receipt: Receipt | None) -> None:
        self.undo("undo_x", receipt)

    @step(after=[])
    def b(self) -> Receipt:
        return self.act("b")

    b.no_compensation("fails")

    @step(after=[])
    def c(self) -> Receipt:
        return self.act("c")

    c.no_compensation("reads only")


def database_clock() -> datetime:
    moments: list[datetime] = list(StepRun.objects.values_list(Now(), flat=True)[:1])
    return moments[0]


class TestACompensation:
    def test_that_runs_again_does_not_go_on_from_the_heartbeat_of_the_first_time(self) -> None:
        run = start_saga(Chunks, "x", key="k")
        attempt = claimed(run, "load")
        expire_lease(attempt.pk)
        sweep()
        assert drive(run).state == SagaState.COMPENSATED
        assert step_of(run, "load", direction="backward").heartbeat == "all"
        record_outcome(attempt, LATE)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["unload(None)", "unload(late)"]

    def test_has_all_its_attempts_and_all_its_time_again(self) -> None:
        run = start_saga(Five, Script({"undo_a": "permanent"}), key="k")
        run_one(run)
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.DEAD_LETTER
        undo = StepRun.objects.filter(run=run, direction="backward")
        undo.update(attempt=6, expires_at=Now() - LONG_AGO, timeout=timedelta(minutes=1))
        SagaRun.objects.update(input={"faults": {"undo_a": "once-network"}})
        retry_saga(run, reason="again")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-2:] == ["undo_a", "undo_a(a)"]


class TestADeadLetterThatIsRetried:
    @pytest.mark.parametrize("what", ["wait", "network", "works"])
    def test_has_fresh_times_in_every_step(self, what: str) -> None:
        run = start_saga(Timed, what, key="k")
        assert drive(run).state == SagaState.DEAD_LETTER
        of_label = StepRun.objects.filter(run=run, name="label_parcel")
        of_label.update(expires_at=Now() - LONG_AGO, started_at=Now() - LONG_AGO)
        retry_saga(run, reason="account opened")
        run_one(run)
        sweep()
        row = step_of(run, "label_parcel")
        expected = {"wait": StepState.WAITING, "network": StepState.READY}
        assert row.state == expected.get(what, StepState.SUCCEEDED)
        assert row.expires_at is not None
        assert row.started_at is not None
        assert row.expires_at > row.started_at

    def test_has_fresh_times_also_in_steps_that_were_between_two_attempts(self) -> None:
        run = start_saga(Timed, "works", key="k")
        run_one(run)
        StepRun.objects.filter(run=run, name="label_parcel").update(
            expires_at=Now() - LONG_AGO, attempt=2
        )
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.DEAD_LETTER, pivot_passed=True)
        retry_saga(run, reason="again")
        row = step_of(run, "label_parcel")
        assert (row.state, row.attempt, row.expires_at) == (StepState.READY, 0, None)


def test_a_best_effort_step_that_was_asked_about_acts_when_it_is_tried_again() -> None:
    run = start_saga(Told, Script({"tell": "once-network", "ask": "no"}), key="k")
    assert drive(run).has_warnings
    assert states(run)["tell"] == StepState.FAILED
    SagaRun.objects.update(input={"faults": {}})
    CALLS.clear()
    retry_step(run, "tell", reason="the mail server is back")
    assert not drive(run).has_warnings
    assert CALLS == ["tell"]


class TestTheDirectionOfAStep:
    def test_a_step_put_back_while_its_saga_turns_is_not_begun_any_more(self) -> None:
        run = start_saga(Fork, Script({"b": "permanent"}), key="k")
        a, b, c = (claimed(run, name) for name in "abc")
        x = record_outcome(
            a, Succeeded(output={"of": "a"}), Claimant(task_id="t", worker="v1")
        ).taken
        assert x is not None
        record_outcome(b, Failed(code="NO", error="b refused"))
        assert advance.postpone(x, UnknownHandler("no step x in this code"))
        assert states(run)["x"] == StepState.CANCELLED
        record_outcome(c, Succeeded(output={"of": "c"}))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_a(a)"]

    def test_a_step_put_back_that_was_the_last_in_flight_lets_the_undoing_begin(self) -> None:
        run = start_saga(Fork, Script(), key="k")
        a = claimed(run, "a")
        run_one(run, "b")
        run_one(run, "c")
        x = record_outcome(
            a, Succeeded(output={"of": "a"}), Claimant(task_id="t", worker="v1")
        ).taken
        assert x is not None
        cancel_saga(run, reason="x")
        advance.postpone(x, UnknownHandler("no step x in this code"))
        assert states(run, "backward") == {"a": "ready"}
        assert drive(run).state == SagaState.CANCELLED

    def test_a_step_put_back_whose_earlier_attempt_may_have_taken_effect_is_undone(self) -> None:
        run = start_saga(Fork, Script(), key="k")
        run_one(run, "a")
        lost = claimed(run, "x")
        expire_lease(lost.pk)
        sweep()
        again = claimed(run, "x")
        cancel_saga(run, reason="x")
        advance.postpone(again, UnknownHandler("no step x in this code"))
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-2:] == ["undo_x(None)", "undo_a(a)"]

    @pytest.mark.parametrize(
        ("state", "wanted"),
        [
            (SagaState.RUNNING, True),
            (SagaState.COMPENSATING, False),
            (SagaState.COMPLETED, False),
            (SagaState.COMPENSATED, False),
            (SagaState.DEAD_LETTER, False),
        ],
    )
    @pytest.mark.parametrize("stray", ["forward", "backward", "reconciling", "detached"])
    def test_a_claim_looks_where_the_saga_goes(
        self, state: SagaState, stray: str, *, wanted: bool
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        StepRun.objects.filter(run=run, name="a").update(
            direction="backward" if stray == "backward" else "forward",
            reconcile_attempts=0 if stray == "reconciling" else None,
            detached=stray == "detached",
        )
        completed = {"completed_at": Now()} if state in {"completed", "compensated"} else {}
        SagaRun.objects.filter(pk=run.pk).update(state=state, **completed)
        if stray == "backward":
            wanted = state == SagaState.COMPENSATING
        elif stray == "reconciling":
            wanted |= state == SagaState.COMPENSATING
        elif stray == "detached":
            wanted |= state == SagaState.COMPLETED
        row = StepRun.objects.get(run=run, name="a")
        won = claim(row.pk, row.fence, task_id="t", worker="w")
        assert (won is not None) is wanted

    def test_the_sweep_sends_only_what_goes_its_way(self) -> None:
        run = start_saga(Five, Script(), key="k")
        later = Now() + LONG_AGO
        assert StepRun.objects.unsent(later).filter(run=run).count() == 1
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.COMPENSATING)
        assert not StepRun.objects.unsent(later).filter(run=run).exists()


class TestHeartbeats:
    @pytest.mark.parametrize(
        ("state", "columns", "wanted"),
        [
            (SagaState.RUNNING, {}, True),
            (SagaState.DEAD_LETTER, {}, True),
            (SagaState.COMPENSATING, {}, False),
            (SagaState.COMPENSATING, {"reconcile_attempts": 0}, True),
            (SagaState.COMPLETED, {"detached": True}, True),
            (SagaState.COMPLETED, {}, False),
            (SagaState.COMPENSATING, {"direction": "backward"}, True),
            (SagaState.DEAD_LETTER, {"direction": "backward"}, True),
            (SagaState.RUNNING, {"direction": "backward"}, False),
        ],
        ids=str,
    )
    def test_say_whether_the_attempt_is_wanted(
        self, state: SagaState, columns: dict[str, object], *, wanted: bool
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = claimed(run, "a")
        StepRun.objects.filter(pk=attempt.pk).update(**columns)
        completed = Now() if state == SagaState.COMPLETED else None
        SagaRun.objects.filter(pk=run.pk).update(state=state, completed_at=completed)
        attempt = StepRun.objects.get(pk=attempt.pk)
        assert record_heartbeat(attempt, "half") is wanted

    def test_of_a_question_are_not_the_progress_of_the_step(self) -> None:
        run = start_saga(Told, Script(), key="k")
        run_one(run)
        attempt = claimed(run, "tell")
        record_heartbeat(attempt, "page 7")
        record_outcome(attempt, Failed(code="X", error="x", in_doubt=True))
        question = claimed(run, "tell")
        assert question.is_reconciling
        assert record_heartbeat(question, "statement 1 of 3")
        assert step_of(run, "tell").heartbeat == "page 7"


class TestLeases:
    def test_count_from_the_moment_of_writing(self) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = claimed(run, "a")
        row = step_of(run, attempt.name)
        assert row.lease_until is not None
        assert row.started_at is not None
        assert timedelta(seconds=14) < row.lease_until - row.started_at < timedelta(seconds=16)

    def test_a_lease_that_was_renewed_meanwhile_is_not_given_up(self) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = claimed(run, "a")
        expire_lease(attempt.pk)
        seen = StepRun.objects.get(pk=attempt.pk)
        StepRun.objects.filter(pk=attempt.pk).update(lease_until=Now() + timedelta(seconds=15))
        assert not advance.end_lost_attempt(seen)
        assert step_of(run, "a").state == StepState.RUNNING

    def test_a_step_without_a_handler_is_tried_more_and_more_seldom(self) -> None:
        run = start_saga(Five, Script(), key="k")
        waits = []
        for _ in range(7):
            attempt = claimed(run, "a")
            advance.postpone(attempt, UnknownHandler("no step a in this code"))
            row = step_of(run, "a")
            assert row.due_at is not None
            waits.append(round((row.due_at - database_clock()).total_seconds(), -1))
            assert row.attempt == 0
            StepRun.objects.filter(pk=row.pk).update(due_at=Now())
        assert waits == [10, 20, 40, 80, 160, 300, 300]


@pytest.mark.postgres
def test_a_lease_taken_in_place_does_not_begin_before_the_wait_for_the_run() -> None:
    """The statement that ends a step and takes the next one waits for the run's lock first."""
    run = start_saga(Five, Script(), key="k")
    attempt = claimed(run, "a")
    held, told = threading.Event(), []

    def hold() -> None:
        with transaction.atomic():
            SagaRun.objects.select_for_update().get(pk=run.pk)
            held.set()
            time.sleep(1.5)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with patch("sagas.engine.transitions.postgresql.saga_settings") as conf:
        conf.return_value = SagaSettings(LEASE_SECONDS=1.0)
        told.append(record_outcome(attempt, Succeeded(output={"of": "a"}), Claimant()))
    thread.join()
    assert told[0].taken is not None
    row = step_of(run, "b")
    assert row.lease_until is not None
    assert row.lease_until > database_clock()
