"""A message that waits in a long queue is not sent a second time (R83)."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.test import override_settings

from sagas import recover, start_saga
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.transitions import claim, hurry, mark_sent
from tests.driving import step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

GRACE = 10


@pytest.fixture(autouse=True)
def _something_is_queued(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.dispatch.is_empty", lambda _: False)


def started(key: str) -> SagaRun:
    return start_saga(Five, Script(), key=key)


def first_of(run: SagaRun) -> StepRun:
    return step_of(run, "a")


def age(run: SagaRun, seconds: float) -> None:
    """Let time pass since the first step of a run became due."""
    past = timedelta(seconds=seconds)
    moved = {"send_at": F("send_at") - past, "due_at": F("due_at") - past}
    StepRun.objects.filter(pk=first_of(run).pk).update(**moved)


def given_out(run: SagaRun) -> None:
    """A worker claims the first step by its message."""
    step = first_of(run)
    assert claim(step.pk, step.fence, task_id="t", worker="w")


def behind_an_older_one() -> SagaRun:
    """Let one saga's message wait, while that of another, which is returned, is given out."""
    older, waiting = started("older"), started("waiting")
    age(older, 12)
    age(waiting, 11)
    given_out(older)
    return older


def sent_again(messages: list[str]) -> bool:
    messages.clear()
    recover.sweep()
    return bool(messages)


def test_it_is_not_while_the_queue_gives_out_older_ones(messages: list[str]) -> None:
    behind_an_older_one()
    assert not sent_again(messages)


@pytest.mark.parametrize(
    ("batch", "moments"),
    [(200, (20, 30, 40, 50)), (1, (30, 70, 130, 190))],
    ids=["soon", "at intervals that double when a sweep is full of them"],
)
def test_it_is_asked_about_again(messages: list[str], batch: int, moments: tuple[int, ...]) -> None:
    older, waiting = started("older"), started("waiting")
    given_out(older)
    waited = 0.0
    for next_moment in moments:
        due = send_after(waiting)
        age(waiting, due + 1 - waited)
        waited = due + 1
        past = F("due_at") - timedelta(hours=1)
        StepRun.objects.filter(pk=first_of(older).pk).update(due_at=past)
        with override_settings(SAGAS={"SWEEP_BATCH": batch}):
            assert not sent_again(messages)
        assert send_after(waiting) == next_moment


def send_after(run: SagaRun) -> float:
    """Return how long after it became due the first step of a run is looked at again, in seconds."""
    row = first_of(run)
    assert row.send_at is not None
    assert row.due_at is not None
    return (row.send_at - row.due_at).total_seconds()


def test_it_is_when_the_queue_has_given_out_a_younger_one(messages: list[str]) -> None:
    lost, younger = started("lost"), started("younger")
    age(lost, 11)
    given_out(younger)
    assert sent_again(messages)


def test_it_is_when_nothing_is_left_in_the_queue(
    messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_an_older_one()
    monkeypatch.setattr("sagas.dispatch.is_empty", lambda _: True)
    assert sent_again(messages)


def test_it_is_when_nobody_has_read_the_queue_for_a_while(messages: list[str]) -> None:
    older, waiting = started("older"), started("waiting")
    age(older, 30)
    age(waiting, 11)
    given_out(older)
    SagaEvent.objects.filter(run=older).update(at=Now() - timedelta(seconds=GRACE + 1))
    assert sent_again(messages)


def test_what_another_queue_gives_out_says_nothing(messages: list[str]) -> None:
    older = behind_an_older_one()
    StepRun.objects.filter(pk=first_of(older).pk).update(options={"queue": "elsewhere"})
    assert sent_again(messages)


@pytest.mark.parametrize(
    "unsent",
    [
        lambda step: mark_sent([step.pk], again_in=timedelta(seconds=-1)),
        lambda step: hurry(step.pk),
    ],
    ids=["the broker was away", "a process died before it sent"],
)
def test_one_that_may_never_have_been_sent_is_sent(
    messages: list[str], unsent: Callable[[StepRun], object]
) -> None:
    older, waiting = started("older"), started("waiting")
    age(older, 12)
    age(waiting, 7)
    given_out(older)
    unsent(first_of(waiting))
    assert sent_again(messages)


def test_after_it_was_sent_again_the_order_tells_no_more(messages: list[str]) -> None:
    lost, younger = started("lost"), started("younger")
    age(lost, 11)
    given_out(younger)
    assert sent_again(messages)
    StepRun.objects.filter(pk=first_of(younger).pk).update(due_at=F("due_at") - timedelta(hours=1))
    age(lost, 21)
    assert sent_again(messages)
