"""Retry and resolve (R58, R76, R77)."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now

from sagas import start_saga
from sagas.conf import MAX_RETRY_COUNT
from sagas.exceptions import ActionNotAllowed, RetryCapExceeded
from sagas.models import SagaRun
from sagas.operations import (
    resolve_saga,
    retry_saga,
)
from sagas.states import EventType, SagaState
from tests.driving import drive, fresh, step_of
from tests.races import together
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def stuck_on_its_way_back() -> SagaRun:
    """``undo_b`` failed for good after ``undo_c`` succeeded."""
    faults = {"d": "permanent", "undo_b": "permanent"}
    return drive(start_saga(Five, Script(faults), key="back"))


def stuck_past_the_pivot() -> SagaRun:
    return drive(start_saga(Diamond, Script({"ship": "permanent"}), key="forth"))


def repaired(run: SagaRun) -> SagaRun:
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
    return fresh(run)


def retried(run: SagaRun, count: int) -> SagaRun:
    SagaRun.objects.filter(pk=run.pk).update(retry_count=count)
    return fresh(run)


class TestRetry:
    def test_on_the_way_back_only_what_is_not_undone_runs_again(self, messages: list[str]) -> None:
        run = repaired(stuck_on_its_way_back())
        del CALLS[:], messages[:]
        again = retry_saga(run, reason="fixed", actor="ann")
        assert (again.state, again.retry_count) == (SagaState.COMPENSATING, 1)
        assert messages == ["sagas.tests.Five.b.compensate"]
        run = drive(run)
        assert CALLS == ["undo_b(b)", "undo_a(a)"]
        assert (run.state, run.error, run.compensation_error) == ("compensated", "d refused", "")

    def test_past_the_pivot_the_failed_step_runs_again_with_a_fresh_deadline(
        self, messages: list[str]
    ) -> None:
        run = repaired(stuck_past_the_pivot())
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - timedelta(hours=1))
        del CALLS[:], messages[:]
        again = retry_saga(run, reason="fixed")
        left = SagaRun.objects.annotate(left=F("deadline") - Now()).values_list("left", flat=True)
        assert timedelta(minutes=14) < left.get(pk=run.pk) <= timedelta(minutes=15)
        assert (again.state, again.error, again.failed_step) == (SagaState.RUNNING, "", "")
        assert messages == ["sagas.tests.Diamond.ship"]
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["ship", "tell"]

    def test_the_attempts_are_fresh_and_the_key_is_the_same(self) -> None:
        run = drive(start_saga(Diamond, Script({"ship": "network"}), key="forth"))
        before = step_of(run, "ship")
        retry_saga(run, reason="again")
        run = drive(run)
        after = step_of(run, "ship")
        assert run.state == SagaState.DEAD_LETTER
        assert CALLS.count("ship") == 4
        assert after.idempotency_key == before.idempotency_key
        assert after.fence > before.fence

    def test_who_asked_and_why_is_kept(self) -> None:
        run = retry_saga(stuck_past_the_pivot(), reason="carrier is back", actor="ann")
        event = run.events.get(type=EventType.RETRIED)
        assert (event.actor, event.note) == ("ann", "carrier is back")
        assert (event.from_state, event.to_state) == ("dead_letter", "running")

    def test_the_last_retry_allowed_is_the_tenth(self) -> None:
        run = retry_saga(retried(stuck_past_the_pivot(), 9), reason="once more")
        assert run.retry_count == MAX_RETRY_COUNT
        run = drive(run)
        with pytest.raises(RetryCapExceeded, match="10 of 10") as caught:
            retry_saga(run, reason="once more")
        assert (caught.value.count, caught.value.max) == (10, 10)
        assert fresh(run).state == SagaState.DEAD_LETTER

    @pytest.mark.parametrize("stuck", [stuck_on_its_way_back, stuck_past_the_pivot])
    def test_of_twenty_retries_at_once_after_nine_one_wins(
        self, stuck: Callable[[], SagaRun], messages: list[str]
    ) -> None:
        run = retried(stuck(), 9)
        messages.clear()
        answers = together(*[lambda: retry_saga(run, reason="fixed")] * 20)
        won = [answer for answer in answers if isinstance(answer, SagaRun)]
        refused = [answer for answer in answers if isinstance(answer, ActionNotAllowed)]
        assert (len(won), len(refused)) == (1, 19)
        assert won[0].retry_count == fresh(run).retry_count == 10
        assert run.events.filter(type=EventType.RETRIED).count() == 1
        assert len(messages) == 1


class TestResolve:
    @pytest.mark.parametrize("stuck", [stuck_on_its_way_back, stuck_past_the_pivot])
    def test_a_dead_letter_is_resolved_with_a_note(
        self, stuck: Callable[[], SagaRun], messages: list[str]
    ) -> None:
        run = stuck()
        messages.clear()
        resolved = resolve_saga(run, reason="refunded by phone", actor="ann")
        assert (resolved.state, resolved.outcome) == (SagaState.RESOLVED, "resolved")
        assert resolved.completed_at is not None
        event = run.events.get(type=EventType.RESOLVED)
        assert (event.actor, event.note) == ("ann", "refunded by phone")
        assert drive(run).state == SagaState.RESOLVED
        assert messages == []
