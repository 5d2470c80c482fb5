"""One executor at a time: who meets a lock is told, and an old token moves nothing (R64)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sagas import operations, start_saga
from sagas.admin.confirm import Subject
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.execute import execute
from sagas.engine.transitions import claim, record_heartbeat, renew_lease, shorten_lease
from sagas.exceptions import TransactionLocked
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import EventType, SagaState
from tests.driving import drive, expire_lease, fresh, run_one, step_of
from tests.races import elsewhere
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

VERBS: dict[str, Callable[..., SagaRun]] = {
    "cancel": operations.cancel_saga,
    "compensate": operations.compensate_saga,
    "pause": operations.pause_saga,
    "resume": operations.resume_saga,
    "retry": operations.retry_saga,
    "resolve": operations.resolve_saga,
    "retry_step a": lambda run, **o: operations.retry_step(run, "a", **o),
    "skip_step a": lambda run, **o: operations.skip_step(run, "a", **o),
}


@pytest.fixture
def run(messages: list[str]) -> SagaRun:
    return start_saga(Five, Script(), key="k")


@pytest.fixture(autouse=True)
def _little_patience(settings: Settings) -> None:
    settings.SAGAS = {**settings.SAGAS, "OPERATOR_LOCK_TIMEOUT_SECONDS": 0.1}


@contextmanager
def held(run: SagaRun) -> Iterator[None]:
    """Have another transaction hold the run's lock."""
    with elsewhere(partial(SagaRun.objects.select_for_update(no_key=True).get, pk=run.pk)):
        yield


class TestLockedRun:
    @pytest.mark.parametrize("verb", VERBS)
    def test_every_verb_says_that_a_run_is_locked_after_a_bounded_wait(
        self, run: SagaRun, verb: str
    ) -> None:
        with (
            held(run),
            pytest.raises(TransactionLocked, match=r"waited 0\.1 s for another") as caught,
        ):
            VERBS[verb](run, reason="x")
        assert caught.value.code == "TRANSACTION_LOCKED"
        assert caught.value.facts == {"run_id": run.pk, "action": verb, "waited_ms": 100}
        assert fresh(run).state == SagaState.RUNNING
        assert not run.events.filter(actor="x").exists()

    def test_the_same_verb_works_when_the_lock_is_free(self, run: SagaRun) -> None:
        with held(run), pytest.raises(TransactionLocked):
            operations.cancel_saga(run, reason="x")
        assert operations.cancel_saga(run, reason="x").state == SagaState.CANCELLED

    @pytest.mark.postgres
    def test_the_callers_transaction_stays_usable_and_as_patient_as_it_was(
        self, run: SagaRun
    ) -> None:
        other = start_saga(Five, Script(), key="other")
        with transaction.atomic():
            with held(run), pytest.raises(TransactionLocked):
                operations.cancel_saga(run, reason="x")
            operations.pause_saga(other, reason="x")
            with connection.cursor() as cursor:
                cursor.execute("SHOW lock_timeout")
                assert cursor.fetchone() == ("0",)
        assert fresh(other).paused_at is not None

    @pytest.mark.sqlite
    def test_the_connection_stays_as_patient_as_it_was(self, run: SagaRun) -> None:
        operations.pause_saga(run, reason="x")
        with connection.cursor() as cursor:
            assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)

    def test_the_command_line_says_in_a_line_that_a_run_is_locked(self, run: SagaRun) -> None:
        with held(run), pytest.raises(CommandError, match="is locked: cancel waited") as caught:
            call_command("saga", "cancel", "k", "--reason", "x")
        assert "\n" not in str(caught.value)

    @pytest.mark.postgres
    def test_the_admin_says_in_a_message_that_a_run_is_locked(
        self, run: SagaRun, admin_client: Client
    ) -> None:
        subject = Subject(fresh(run), is_allowed=True)
        data = {"reason": "x", subject.token_name: subject.token}
        with held(run):
            url = reverse("admin:sagas_sagarun_cancel", args=[run.pk])
            response: Any = admin_client.post(url, data)
        told = [str(message) for message in get_messages(response.wsgi_request)]
        assert len(told) == 1
        assert "is locked: cancel waited" in told[0]


class TestTokens:
    def test_a_second_executor_is_refused_while_the_first_one_holds_the_step(
        self, run: SagaRun
    ) -> None:
        row = step_of(run, "a")
        assert claim(row.pk, row.fence, task_id="", worker="one")
        for fence in (row.fence, row.fence + 1, row.fence + 2):
            assert execute(row.pk, fence, worker="two") == "not claimed"
        assert step_of(run, "a").worker == "one"

    @pytest.mark.parametrize("again", [False, True], ids=["given up", "claimed again"])
    def test_whatever_is_said_with_an_old_token_changes_nothing(
        self, run: SagaRun, *, again: bool
    ) -> None:
        old = claim_lost(run)
        if again:
            row = step_of(run, "a")
            assert claim(row.pk, row.fence, task_id="", worker="two")
        before = rows(run)
        assert not renew_lease(old.pk, old.fence)
        assert not shorten_lease(old.pk, old.fence)
        assert not record_heartbeat(old, {"page": 3})
        assert rows(run) == before
        assert step_of(run, "a").at_large == [old.fence]
        assert not record_outcome(old, Failed(code="X", error="late"))
        # But that it has ended is known from now on.
        StepRun.objects.filter(pk=old.pk, at_large__isnull=True).update(at_large=[old.fence])
        assert rows(run) == before
        told = SagaEvent.objects.filter(run=run).order_by("pk").last()
        assert told is not None
        assert (told.type, told.attempt) == (EventType.STEP_LATE, 1)

    def test_the_next_executor_takes_over_when_the_lease_of_a_dead_one_has_run_out(
        self, run: SagaRun
    ) -> None:
        claim_lost(run)
        assert run_one(run, "a") == "succeeded"
        assert drive(run).state == SagaState.COMPLETED

    def test_an_outcome_that_was_recorded_gives_the_step_free_for_nobody(
        self, run: SagaRun
    ) -> None:
        row = step_of(run, "a")
        attempt = claim(row.pk, row.fence, task_id="", worker="one")
        assert attempt is not None
        assert record_outcome(attempt, Succeeded(output={"of": "a"}))
        assert execute(attempt.pk, attempt.fence) == "not claimed"


def claim_lost(run: SagaRun) -> StepRun:
    """Return an attempt whose lease ran out, and which was given up."""
    row = step_of(run, "a")
    old = claim(row.pk, row.fence, task_id="", worker="one")
    assert old is not None
    expire_lease(old.pk)
    assert recover.sweep().lost == 1
    return old


def rows(run: SagaRun) -> list[Any]:
    """Return all there is of a run, its events aside."""
    of_run = SagaRun.objects.filter(pk=run.pk).values()
    return [*of_run, *StepRun.objects.filter(run=run).order_by("pk").values()]
