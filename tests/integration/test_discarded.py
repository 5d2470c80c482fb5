"""A worker that throws a message away, because it does not know its task, has it sent again soon (R57)."""

from uuid import uuid4

import pytest

from sagas import start_saga
from sagas.engine import dispatch, resend
from sagas.models import StepRun
from tests.driving import claimed, step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(name="step")
def _step(messages: list[str]) -> StepRun:
    run = start_saga(Five, Script(), key="k")
    return step_of(run, "a")


def test_a_message_that_was_thrown_away_is_due_again(step: StepRun) -> None:
    resend.note_discarded(dispatch._message(step.run, step).task_id)
    assert resend.take_up_discarded() == 1
    after = StepRun.objects.get(pk=step.pk)
    assert after.sent_at is None
    assert step.send_at is not None
    assert after.send_at is not None
    assert after.send_at < step.send_at


def test_a_message_thrown_away_that_is_not_the_last_one_changes_nothing(step: StepRun) -> None:
    resend.note_discarded(f"{step.pk}-{step.fence}-{step.sends + 1}")
    resend.note_discarded(f"{uuid4()}-0-1")
    resend.note_discarded("forged")
    assert resend.take_up_discarded() == 0


def test_a_message_thrown_away_whose_step_was_claimed_meanwhile_changes_nothing(
    step: StepRun,
) -> None:
    claimed(step.run, "a")
    resend.note_discarded(dispatch._message(step.run, step).task_id)
    assert resend.take_up_discarded() == 0
