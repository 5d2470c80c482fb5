"""A message that waits in a long queue is not sent a second time (R83)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.test import override_settings

from sagas import start_saga
from sagas.engine import recover
from sagas.engine.transitions import claim, mark_sent, mark_unsent, send_soon
from sagas.models import SagaEvent, SagaRun, StepRun
from tests.driving import step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

GRACE = 10
LONG_AGO = Now() - timedelta(hours=1)


@pytest.fixture
def sent(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that are sent one by one, in their order."""
    found: list[Any] = []

    def publish(message: Any) -> bool:
        found.append(message)
        return True

    monkeypatch.setattr("sagas.engine.dispatch._publisher.publish", publish)
    return found


@pytest.fixture(autouse=True)
def _something_is_queued(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagas.engine.dispatch.is_empty", lambda _: False)


def started(key: str) -> SagaRun:
    return start_saga(Five, Script(), key=key)


def first_of(run: SagaRun) -> StepRun:
    return step_of(run, "a")


def age(run: SagaRun, seconds: float) -> None:
    """Let time pass since the first step of a run became due."""
    past = timedelta(seconds=seconds)
    moved = {name: F(name) - past for name in ("send_at", "sent_at", "due_at")}
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


def test_a_waiting_message_is_not_sent_again_while_the_queue_gives_out_older_ones(
    messages: list[str],
) -> None:
    behind_an_older_one()
    assert not sent_again(messages)


@pytest.mark.parametrize(
    ("batch", "moments"),
    [(200, (20, 30, 40, 50)), (1, (30, 70, 130, 190))],
    ids=["soon", "at intervals that double when a sweep is full of them"],
)
def test_a_waiting_message_is_looked_at_again(
    messages: list[str], batch: int, moments: tuple[int, ...]
) -> None:
    older, waiting = started("older"), started("waiting")
    given_out(older)
    waited = 0.0
    for next_moment in moments:
        due = send_after(waiting)
        age(waiting, due + 1 - waited)
        waited = due + 1
        StepRun.objects.filter(pk=first_of(older).pk).update(sent_at=LONG_AGO)
        with override_settings(SAGAS={"SWEEP_BATCH": batch}):
            assert not sent_again(messages)
        assert send_after(waiting) == next_moment


def send_after(run: SagaRun) -> float:
    """Return how long after it became due the first step of a run is looked at again, in seconds."""
    row = first_of(run)
    assert row.send_at is not None
    assert row.due_at is not None
    return (row.send_at - row.due_at).total_seconds()


def test_a_message_is_sent_again_when_the_queue_has_given_out_a_younger_one(
    messages: list[str],
) -> None:
    lost, younger = started("lost"), started("younger")
    age(lost, 11)
    given_out(younger)
    assert sent_again(messages)


def test_a_message_is_sent_again_when_nothing_is_left_in_the_queue(
    messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_an_older_one()
    monkeypatch.setattr("sagas.engine.dispatch.is_empty", lambda _: True)
    assert sent_again(messages)


def test_a_message_is_sent_again_when_nobody_has_read_the_queue_for_a_while(
    messages: list[str],
) -> None:
    older, waiting = started("older"), started("waiting")
    age(older, 30)
    age(waiting, 11)
    given_out(older)
    SagaEvent.objects.filter(run=older).update(at=Now() - timedelta(seconds=GRACE + 1))
    assert sent_again(messages)


def test_what_another_queue_gives_out_says_nothing_of_a_message(messages: list[str]) -> None:
    older = behind_an_older_one()
    StepRun.objects.filter(pk=first_of(older).pk).update(options={"queue": "elsewhere"})
    assert sent_again(messages)


@pytest.mark.parametrize(
    "unsent",
    [
        lambda step: mark_unsent([step], again_in=timedelta(seconds=-1)),
        lambda step: send_soon(step.pk),
    ],
    ids=["the broker was away", "a process died before it sent"],
)
def test_a_message_that_may_never_have_been_sent_is_sent(
    messages: list[str], unsent: Callable[[StepRun], object]
) -> None:
    older, waiting = started("older"), started("waiting")
    age(older, 12)
    age(waiting, 7)
    given_out(older)
    unsent(first_of(waiting))
    assert sent_again(messages)


def test_a_message_that_kills_each_process_before_the_claim_is_not_sent_at_once_for_ever(
    messages: list[str],
) -> None:
    step = first_of(started("deadly"))
    for _ in range(10):
        recover.suspect(step.pk, step.fence)
        recover.sweep()
    assert len(messages) == 1 + 3


def lost_once(messages: list[str]) -> tuple[SagaRun, SagaRun]:
    """Return a saga whose message was lost and sent again, and a younger one that is given out."""
    lost, younger = started("lost"), started("younger")
    age(lost, 11)
    given_out(younger)
    assert sent_again(messages)
    age(lost, GRACE + 1)
    return lost, younger


def test_a_message_sent_again_stands_behind_what_was_sent_before(messages: list[str]) -> None:
    _, younger = lost_once(messages)
    StepRun.objects.filter(pk=first_of(younger).pk).update(sent_at=LONG_AGO)
    assert not sent_again(messages)


def test_a_message_is_sent_again_without_backing_off_however_often_it_is_lost(
    messages: list[str],
) -> None:
    lost, _ = lost_once(messages)
    for number in range(4):
        given_out(started(str(number)))
        assert sent_again(messages)
        looked_after = first_of(lost)
        assert looked_after.send_at is not None
        assert looked_after.sent_at is not None
        assert looked_after.send_at - looked_after.sent_at == timedelta(seconds=GRACE)
        age(lost, GRACE + 1)


def test_other_messages_lost_with_it_are_sent_at_once_and_the_oldest_first(
    messages: list[str], sent: list[Any]
) -> None:
    names = ["first", "second", "third", "fourth"]
    runs = [started(name) for name in names]
    for seconds, run in zip((11, 9, 7, 5), runs, strict=True):
        age(run, seconds)
    given_out(started("younger"))
    new = started("new")
    StepRun.objects.filter(pk=first_of(new).pk).update(send_at=Now(), sent_at=None)
    sent.clear()
    recover.sweep()
    assert [message.args[0] for message in sent] == [str(first_of(run).pk) for run in [*runs, new]]


def test_a_message_of_the_same_moment_may_stand_behind_the_younger_one(messages: list[str]) -> None:
    lost, same = started("lost"), started("same")
    age(lost, 11)
    age(same, 1)
    given_out(started("younger"))
    recover.sweep()
    assert first_of(lost).sends == 2
    assert first_of(same).sends == 1


def test_a_claim_by_an_older_message_of_a_step_tells_nothing_of_its_last(
    messages: list[str],
) -> None:
    waiting, twice = started("waiting"), started("twice")
    age(twice, 21)
    age(waiting, 11)
    row = first_of(twice)
    (row,) = mark_sent([row], again_in=timedelta(seconds=GRACE))
    assert claim(row.pk, row.fence, task_id=f"{row.pk}-{row.fence}-1", worker="w")
    sent_again(messages)
    assert first_of(waiting).send_at == first_of(waiting).sent_at + timedelta(seconds=2 * GRACE)  # type: ignore[operator]


@pytest.mark.parametrize("options", [{"priority": 9}, {"rate_limit": "1/s"}], ids=str)
def test_a_message_that_overtakes_others_says_nothing_of_them(
    messages: list[str], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    waiting, fast = started("waiting"), started("fast")
    age(waiting, 11)
    given_out(fast)
    label = "tests.Gone"  # so that the row says how it is sent
    SagaRun.objects.filter(pk=fast.pk).update(label=label)
    StepRun.objects.filter(pk=first_of(fast).pk).update(options=options)
    sent_again(messages)
    assert first_of(waiting).send_at == first_of(waiting).sent_at + timedelta(seconds=2 * GRACE)  # type: ignore[operator]
