"""``manage.py saga purge``: what is over goes, in batches, and nothing else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from sagas import retention
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import EventType, SagaState
from tests.factories import make_dead_letter, make_run, make_running, make_step


pytestmark = pytest.mark.django_db


def saga(*arguments: str) -> str:
    out = StringIO()
    call_command("saga", *arguments, stdout=out)
    return out.getvalue()


class TestPurge:
    @pytest.fixture(autouse=True)
    def runs(self) -> None:
        old = timezone.now() - timedelta(days=100)
        for number in range(5):
            run = make_run(SagaState.COMPLETED, f"old-{number}", completed_at=old)
            step = make_step(run, "one")
            SagaEvent.objects.create(run=run, step=step, type=EventType.STEP_SUCCEEDED)
        make_run(SagaState.CANCELLED, "young")
        make_running("active", created_at=old)
        make_dead_letter("dead")
        SagaRun.objects.filter(key__in=("active", "dead")).update(updated_at=old)

    def test_a_saga_that_ended_long_ago_goes_with_its_steps_and_events(self) -> None:
        text = saga("purge", "--older-than", "90d", "--batch", "2")
        assert text == "Purged 5. Left 3: running 1, cancelled 1, dead_letter 1.\n"
        assert not StepRun.objects.filter(run__key__startswith="old").exists()
        assert {run.key for run in SagaRun.objects.all()} == {"young", "active", "dead"}

    def test_dead_letters_go_only_when_asked_for(self) -> None:
        text = saga("purge", "--older-than", "90d", "--include-dead-letters")
        assert text == "Purged 6. Left 2: running 1, cancelled 1.\n"

    @pytest.mark.parametrize("text", ["90", "d", "-1d", "999999d", "1w", ""])
    def test_an_age_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(CommandError, match="--older-than"):
            saga("purge", f"--older-than={text}")
        assert SagaRun.objects.count() == 8

    def test_a_batch_of_nothing_is_refused(self) -> None:
        with pytest.raises(CommandError, match="at least 1"):
            saga("purge", "--older-than", "90d", "--batch", "0")


@pytest.mark.django_db(transaction=True)
class TestPurgeInBatches:
    @pytest.fixture(autouse=True)
    def old(self, transactional_db: None) -> datetime:
        old = timezone.now() - timedelta(days=100)
        for number in range(5):
            make_step(make_run(SagaState.COMPLETED, f"old-{number}", completed_at=old), "one")
        return old

    def test_what_a_stopped_purge_deleted_is_gone_and_the_next_one_goes_on(self) -> None:
        batches = retention.purge(timezone.now() - timedelta(days=90), batch_size=2)
        assert next(batches) == 2
        assert not connection.in_atomic_block
        assert (SagaRun.objects.count(), StepRun.objects.count()) == (3, 3)
        assert saga("purge", "--older-than", "90d", "--batch", "2") == "Purged 3. Left 0.\n"

    @pytest.mark.postgres
    def test_a_run_that_someone_holds_is_left_without_waiting(self) -> None:
        held = SagaRun.objects.get(key="old-1")
        with in_another_thread() as elsewhere, transaction.atomic():
            SagaRun.objects.select_for_update().get(pk=held.pk)
            assert elsewhere(saga, "purge", "--older-than", "90d", "--batch", "2") == (
                "Purged 4. Left 1: completed 1.\n"
            )
        assert saga("purge", "--older-than", "90d") == "Purged 1. Left 0.\n"

    @pytest.mark.postgres
    def test_a_batch_under_way_holds_up_no_living_saga(self, old: datetime) -> None:
        living = make_running("living", created_at=old)
        with in_another_thread() as elsewhere, transaction.atomic():
            assert next(retention.purge(timezone.now(), batch_size=2)) == 2
            assert elsewhere(pause, living) == 1


def pause(run: SagaRun) -> int:
    """Write to the run, or fail at once where someone holds it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '50ms'")
        return SagaRun.objects.filter(pk=run.pk).update(paused_at=timezone.now())


@contextmanager
def in_another_thread() -> Iterator[Callable[..., Any]]:
    """Give a way to call something over a connection of its own."""

    def call(act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        yield lambda act, *arguments: pool.submit(call, act, *arguments).result(60)
