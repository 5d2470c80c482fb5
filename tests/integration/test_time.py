"""A step's own time: its timeout over all attempts, its heartbeat, and what ended it (R37, R78, R89-R91)."""

import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from sagas import PermanentError, Saga, start_saga, step
from sagas.definitions import UndoneStep, registry
from sagas.engine.recover import sweep
from sagas.engine.transitions import claim, record_heartbeat
from sagas.exceptions import SagaCancelled, SagaDefinitionError
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, expire_lease, fresh, run_one, step_of
from tests.traced import CALLS, Receipt, Script


pytestmark = pytest.mark.django_db(transaction=True)


class Timed(Saga[Script]):
    """A chunked import that beats, in two minutes at most."""

    class Meta:
        label = "tests.Timed"

    @step(timeout=120, max_retries=5, retry_jitter=False, heartbeat_timeout=30)
    def load(self) -> Receipt:
        begin = (self.last_heartbeat or {"chunk": 0})["chunk"]
        CALLS.append(f"from {begin}")
        for chunk in range(begin, 10):
            if self.input.faults.get("load") == f"at {chunk}" and self.attempt == 1:
                raise ConnectionError("the feed broke")
            if self.input.faults.get("cancel") == f"at {chunk}":
                cancel_saga(SagaRun.objects.get(pk=self.run.id), reason="stop it")
            self.heartbeat({"chunk": chunk + 1})
        return Receipt("load")

    @load.compensation
    def unload(self, receipt: Receipt | None) -> None:
        CALLS.append("unload")
        if self.input.faults.get("unload"):
            raise PermanentError("locked")

    @step
    def publish(self) -> Receipt:
        raise PermanentError("refused")

    publish.no_compensation("it is the last")


class Stubborn(Timed):
    """Its dead letters are retried twice by themselves."""

    class Meta:
        label = "tests.Stubborn"
        auto_retry = 2


@pytest.fixture(autouse=True)
def _every_beat_is_written(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.engine.handler_context.HEARTBEAT_SECONDS", 0.0)


def start(saga: type[Timed] = Timed, **faults: str) -> SagaRun:
    return start_saga(saga, Script(faults), key="k")


def claimed(run: SagaRun) -> StepRun:
    row = step_of(run, "load")
    StepRun.objects.filter(pk=row.pk).update(due_at=Now())
    attempt = claim(row.pk, row.fence, task_id="", worker="")
    assert attempt is not None
    return attempt


class TestStepTimeout:
    def test_the_timeout_counts_from_the_first_attempt_over_all_of_them(self) -> None:
        run = start()
        first = claimed(run)
        expire_lease(first.pk)
        sweep()
        assert claimed(run).expires_at == first.expires_at

    def test_nothing_is_tried_again_after_the_timeout(self) -> None:
        run = start()
        attempt = claimed(run)
        past = Now() - timedelta(seconds=1)
        StepRun.objects.filter(pk=attempt.pk).update(expires_at=past, lease_until=past)
        sweep()
        assert step_of(run, "load").state == StepState.UNKNOWN
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["unload"]

    def test_a_hung_handler_is_told_from_a_dead_process(self) -> None:
        run = start()
        attempt = claimed(run)
        long_ago = Now() - timedelta(seconds=130)
        StepRun.objects.filter(pk=attempt.pk).update(started_at=long_ago)
        expire_lease(attempt.pk)
        sweep()
        assert step_of(run, "load").error_code == "STEP_TIMEOUT"

    def test_a_time_limit_above_the_timeout_is_refused_at_declaration(self) -> None:
        with (
            registry.isolated(),
            pytest.raises(SagaDefinitionError, match="must not be above the timeout"),
        ):

            class Impatient(Saga[Script]):
                @step(timeout=10, time_limit=20)
                def wait(self) -> None: ...


class TestHeartbeat:
    def test_the_next_attempt_goes_on_from_the_last_heartbeat(self) -> None:
        run = start(load="at 5")
        run_one(run)
        drive(run)
        assert CALLS[:2] == ["from 0", "from 5"]

    def test_a_cancelled_saga_stops_the_handler_at_the_next_beat(self) -> None:
        run = start(cancel="at 3")
        run_one(run)
        row = step_of(run, "load")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "SAGA_CANCELLED")
        assert row.heartbeat == {"chunk": 3}
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["from 0", "unload"]

    def test_an_attempt_that_was_given_up_hears_it_at_the_next_beat(self) -> None:
        run = start()
        stale = claimed(run)
        expire_lease(stale.pk)
        sweep()
        assert not record_heartbeat(stale, {})
        current = claimed(run)
        assert record_heartbeat(current, {"chunk": 1})
        assert not record_heartbeat(stale, {"chunk": 9})
        assert step_of(run, "load").heartbeat == {"chunk": 1}

    def test_in_a_unit_test_beats_are_kept(self) -> None:
        saga = Timed(Script())
        assert saga.load() == Receipt("load")
        assert isinstance(SagaCancelled().code, str)
        assert UndoneStep(name="load", idempotency_key="k", outcome="unknown").result is None


class TestSilence:
    def test_a_handler_that_stops_beating_is_not_kept_alive(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sagas.engine.leases import Lease  # noqa: PLC0415

        lease = Lease(
            step_id=start().pk, fence=1, ends=time.monotonic() + 600, heartbeat_timeout=60
        )
        lease.beat()
        assert lease.is_worth_renewing
        lease.quiet_until -= 61  # as if a minute had passed
        assert not lease.is_worth_renewing
        lease.beat()
        assert lease.is_worth_renewing


class TestAutoRetry:
    def test_a_dead_letter_is_retried_with_doubled_delays_and_then_poisoned(self) -> None:
        run = drive(start(Stubborn, unload="no"))
        assert (run.state, run.poisoned) == (SagaState.DEAD_LETTER, False)
        for count, seconds in ((0, 10), (1, 20)):
            assert fresh(run).auto_retry_count == count
            soon, later = (Now() + timedelta(seconds=seconds + n) for n in (-2, 1))
            waiting = SagaRun.objects.filter(auto_retry_at__gte=soon, auto_retry_at__lte=later)
            assert waiting.exists()
            assert sweep().retried == 0
            SagaRun.objects.update(auto_retry_at=Now())
            assert sweep().retried == 1
            drive(run)
        run = fresh(run)
        assert (run.state, run.poisoned, run.auto_retry_at) == (SagaState.DEAD_LETTER, True, None)
        assert run.events.filter(type=EventType.POISONED).count() == 1
        assert run.retry_count == 0
        assert CALLS.count("unload") == 3

    def test_equal_causes_share_a_fingerprint(self) -> None:
        runs = [drive(start_saga(Timed, Script({"unload": "no"}), key=str(n))) for n in range(2)]
        other = drive(start_saga(Timed, Script(), key="other"))
        assert runs[0].fingerprint == runs[1].fingerprint
        assert runs[0].fingerprint != other.fingerprint
        assert len(other.fingerprint) == 16
