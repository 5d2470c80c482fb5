"""The trouble of one row is that row's: it stops nobody else's recovery (R31)."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings

from sagas import start_saga
from sagas.engine import advance, recover
from sagas.engine.lost_attempts import lost as outcome_of_lost
from sagas.engine.one_by_one import OneByOne
from sagas.engine.transitions import SweepTurns, renew_lease
from sagas.models import SagaRun, StepRun, SweepRecord
from sagas.states import SagaState, StepState
from tests.driving import claimed, expire_lease, fresh, states, step_of
from tests.races import elsewhere
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_is_remembered(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.engine.dispatch.is_empty", lambda _: False)
    for name in ("_lost", "_expired", "_retried"):
        monkeypatch.setattr(recover, name, OneByOne(name))
    monkeypatch.setattr("sagas.engine.resend._locked", OneByOne("sending"))
    monkeypatch.setattr(recover, "_turns", SweepTurns())


def started(key: str) -> SagaRun:
    return start_saga(Five, Script(), key=key)


def lost(key: str) -> SagaRun:
    """Return a saga whose worker died."""
    run = started(key)
    expire_lease(claimed(run, "a").pk)
    return run


def is_recovered(run: SagaRun) -> bool:
    return step_of(run, "a").state == StepState.READY


def locked_run(*runs: SagaRun) -> Callable[[], object]:
    pks = [run.pk for run in runs]
    return lambda: list(SagaRun.objects.select_for_update().filter(pk__in=pks))


def locked_steps(*runs: SagaRun) -> Callable[[], object]:
    pks = [run.pk for run in runs]
    return lambda: list(StepRun.objects.select_for_update().filter(run__in=pks))


@pytest.mark.postgres
class TestLockedRows:
    @pytest.mark.parametrize("lock", [locked_run, locked_steps], ids=["run", "step"])
    def test_a_lost_attempt_whose_row_is_locked_is_passed_over_and_taken_up_later(
        self, lock: Callable[..., Callable[[], object]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blocked, other = lost("blocked"), lost("other")
        with elsewhere(lock(blocked)):
            assert recover.sweep().lost == 1
            assert is_recovered(other)
        monkeypatch.setattr(recover, "_lost", OneByOne("later"))
        assert recover.sweep().lost == 1
        assert is_recovered(blocked)

    def test_an_expired_saga_that_is_locked_keeps_none_from_turning_back(self) -> None:
        blocked, other = started("blocked"), started("other")
        SagaRun.objects.update(deadline=Now() - timedelta(seconds=1))
        with elsewhere(locked_run(blocked)):
            assert recover.sweep().expired == 1
        assert fresh(other).state != SagaState.RUNNING

    def test_a_dead_letter_that_is_locked_keeps_none_from_its_retry(self) -> None:
        blocked, other = started("blocked"), started("other")
        SagaRun.objects.update(
            state=SagaState.DEAD_LETTER, auto_retry_at=Now() - timedelta(seconds=1)
        )
        with elsewhere(locked_run(blocked)):
            assert recover.sweep().retried == 1
        assert fresh(other).state == SagaState.RUNNING

    def test_a_ready_step_that_is_locked_keeps_no_message_back(self) -> None:
        blocked, other = started("blocked"), started("other")
        StepRun.objects.filter(state="ready").update(send_at=Now(), sent_at=None)
        with elsewhere(locked_steps(blocked)), override_settings(SAGAS={"SWEEP_BATCH": 1}):
            assert sum(recover.sweep().sent for _ in range(2)) == 1
        assert step_of(other, "a").sends == 2

    def test_however_many_are_locked_those_behind_them_are_reached(self) -> None:
        blocked = [lost(str(number)) for number in range(60)]
        other = lost("other")
        StepRun.objects.filter(run=other, name="a").update(lease_until=Now())
        began = time.monotonic()
        with elsewhere(locked_run(*blocked)), override_settings(SAGAS={"SWEEP_BATCH": 50}):
            while not is_recovered(other):
                recover.sweep()
                assert time.monotonic() - began < 30
        assert {states(run)["a"] for run in blocked} == {StepState.RUNNING}

    def test_a_lock_that_lasts_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        now = [0.0]
        rows: OneByOne[SagaRun] = OneByOne("turning back", clock=lambda: now[0])
        run = started("k")
        for _ in range(40):
            now[0] += 1
            rows.locked(run)
        (told,) = [r for r in caplog.records if getattr(r, "action", "") == "row_locked"]
        assert str(run.pk) in told.getMessage()


class TestARowThatFails:
    @pytest.fixture
    def poisoned(self, monkeypatch: pytest.MonkeyPatch) -> SagaRun:
        """A saga of which an attempt cannot be given up, whatever the reason."""
        run = lost("poisoned")
        real = outcome_of_lost

        def raising(step: StepRun) -> Any:
            if step.run_id == run.pk:
                raise AssertionError("no arrow leads there")
            return real(step)

        monkeypatch.setattr(advance, "lost", raising)
        return run

    def test_keeps_no_other_row_from_being_recovered(self, poisoned: SagaRun) -> None:
        other = lost("other")
        StepRun.objects.filter(run=other, name="a").update(lease_until=Now())
        with override_settings(SAGAS={"SWEEP_BATCH": 1}):
            assert [recover.sweep().lost for _ in range(2)] == [0, 1]
        assert is_recovered(other)

    def test_is_told_once_with_its_saga_and_step(
        self, poisoned: SagaRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [0.0]
        monkeypatch.setattr(recover, "_lost", OneByOne("giving up", clock=lambda: now[0]))
        for _ in range(5):
            now[0] += 100
            recover.sweep()
        (told,) = [r for r in caplog.records if getattr(r, "action", "") == "row_failed"]
        assert told.levelno == logging.ERROR
        assert f"a of saga {poisoned.pk}" in told.getMessage()

    def test_is_tried_again(self, poisoned: SagaRun, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr(recover, "_lost", OneByOne("giving up", clock=lambda: now[0]))
        recover.sweep()
        monkeypatch.undo()
        monkeypatch.setattr("sagas.engine.dispatch._publisher.publish", lambda _: True)
        assert recover.sweep().lost == 1

    @pytest.mark.postgres
    def test_is_not_to_blame_for_a_lost_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lost("k")

        def cut(_: StepRun) -> Any:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        monkeypatch.setattr(advance, "lost", cut)
        with pytest.raises(Exception, match=r"(?i)terminat|closed|lost"):
            recover.sweep()
        connection.close()


class TestRenewedAttempt:
    def test_an_attempt_that_was_renewed_after_it_was_read_is_not_given_up(self) -> None:
        run = started("k")
        attempt = claimed(run, "a")
        expire_lease(attempt.pk)
        (read,) = StepRun.objects.lost(Now()).select_related("run")
        assert renew_lease(attempt.pk, attempt.fence)
        assert not advance.end_lost_attempt(read)
        assert step_of(run, "a").state == StepState.RUNNING


@pytest.mark.postgres
class TestFrozenSweeper:
    """A process stands still with the record's row, or its machine lost its power."""

    @pytest.fixture(autouse=True)
    def _short_lease(self, settings: Any) -> None:
        settings.SAGAS = {**settings.SAGAS, "LEASE_SECONDS": 2.0, "SWEEP_INTERVAL_SECONDS": 0.1}

    def test_a_frozen_sweeper_is_waited_for_by_nobody_and_the_others_sweep(self) -> None:
        recover.sweep()
        run = lost("k")
        with elsewhere(lambda: list(SweepRecord.objects.select_for_update())):
            deadline = time.monotonic() + 30
            longest = 0.0
            while not is_recovered(run):
                began = time.monotonic()
                recover.sweep(force=False)
                longest = max(longest, time.monotonic() - began)
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert longest < 1

    def test_a_sweep_that_is_asked_for_does_not_wait_either(self) -> None:
        recover.sweep()
        with elsewhere(lambda: list(SweepRecord.objects.select_for_update())):
            assert not recover.sweep().skipped

    def test_turns_are_taken_again_when_a_frozen_sweeper_is_back(self) -> None:
        recover.sweep()
        with elsewhere(lambda: list(SweepRecord.objects.select_for_update())):
            time.sleep(0.2)
            assert recover.sweep(force=False).skipped
        assert not recover.sweep(force=False).skipped
        assert recover.sweep(force=False).skipped
