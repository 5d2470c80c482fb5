"""``manage.py saga purge``: what is over goes, in batches, and nothing else."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

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

    def test_what_ended_long_ago_goes_with_its_steps_and_events(self) -> None:
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
