"""Messages are sent when they are due, and again when they were lost. No lock is held meanwhile.

What is known lost goes out first, and the oldest of it before the younger; what is only unheard of
backs off, so that it never makes a long queue longer.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from django.db.models.functions import Now

from sagas.conf import saga_settings
from sagas.engine import backlog, dispatch, transitions
from sagas.engine.declared import definition_of
from sagas.engine.one_by_one import OneByOne
from sagas.exceptions import SagaError, UnknownHandler, UnknownSaga
from sagas.models import StepRun


DISCARDED_SECONDS = 0.5
"""How long a message that a worker threw away waits, times how often it was sent."""

_discarded: deque[str] = deque(maxlen=10_000)
_locked: OneByOne[StepRun] = OneByOne("sending the message")
_telling: OneByOne[StepRun] = OneByOne("the note that no handler is known")


def send_due(limit: int) -> int:
    """Send the messages of ready steps that are due, or were sent and not claimed. Returns how many."""
    due = StepRun.objects.unsent(Now()).exclude(pk__in=_locked.passed_over())
    steps = list(due.select_related("run")[:limit])
    if not steps:
        return 0
    fates = backlog.fates_of(steps, limit)
    # Asked about again soon, for the queue may be lost at any time; or, when they are so many
    # that they would keep a sweep from what else is due, at intervals that double.
    longer = _with_its_age if len(steps) == limit else _grace
    for delay, queued in _by_delay(fates.queued, longer):
        transitions.postpone_send(queued, longer=delay)
    taken = [
        *_take(fates.lost, _grace),
        *_take(fates.unsent, _grace),
        *_take(fates.silent, _with_its_sends),
    ]
    _pass_over_locked([*fates.lost, *fates.unsent, *fates.silent], taken)
    _telling.each([step for step in taken if _unknown(step)], _tell_unknown)
    return _send(taken)


def resend(step_id: UUID) -> bool:
    """Send again what waits in the run of this step; True when there was something."""
    of_run = StepRun.objects.filter(pk=step_id).values("run_id")
    ready = list(StepRun.objects.unsent(Now()).filter(run_id__in=of_run).select_related("run"))
    return bool(_send(_take(ready, _with_its_sends)))


def note_discarded(task_id: str) -> None:
    """A worker here threw a message away whose task it does not know; look after it in the next round.

    As in a rolling deploy, in which others know it. Touches no database: a consumer calls it.
    """
    _discarded.append(task_id)


def take_up_discarded() -> int:
    """Have the steps of messages that were thrown away here sent again soon. Returns how many.

    The more often, the later, so that workers of one release do not throw it at each other.
    """
    taken_up = 0
    while _discarded:
        named = dispatch.sent_as(_discarded.popleft())
        if named is not None:
            step_id, fence, sends = named
            delay = min(DISCARDED_SECONDS * sends, saga_settings().RESEND_SECONDS)
            again_in = timedelta(seconds=delay)
            taken_up += transitions.send_again(step_id, fence, sends, again_in=again_in)
    return taken_up


def _take(steps: Sequence[StepRun], delay_of: Callable[[StepRun], float]) -> list[StepRun]:
    """Mark as sent what this process is to send; ``delay_of`` says when it is looked after."""
    place = {step.pk: number for number, step in enumerate(steps)}
    taken = []
    for delay, some in _by_delay(steps, delay_of):
        taken += transitions.mark_sent(some, again_in=delay)
    return sorted(taken, key=lambda step: place[step.pk])


def _send(steps: list[StepRun]) -> int:
    """Send now. While the broker is away, the rest is tried again soon, not when its age says so."""
    unsent = [step for step in steps if not dispatch.send(step.run, step)]
    pause = timedelta(seconds=saga_settings().BROKER_BACKOFF_SECONDS)
    if unsent and dispatch.is_paused():
        transitions.mark_unsent(unsent, again_in=pause, tried=False)
    else:
        # It is the trouble of these messages alone.
        for delay, some in _by_delay(unsent, _with_its_sends):
            transitions.mark_unsent(some, again_in=delay)
    return len(steps) - len(unsent)


def _pass_over_locked(wanted: Iterable[StepRun], taken: Iterable[StepRun]) -> None:
    """Let the next sweeps reach what stands behind rows that somebody has locked."""
    missing = {step.pk: step for step in wanted}.keys() - {step.pk for step in taken}
    if missing:
        for step in StepRun.objects.unsent(Now()).filter(pk__in=missing):
            _locked.locked(step)


def _by_delay(
    steps: Iterable[StepRun], delay_of: Callable[[StepRun], float]
) -> Iterable[tuple[timedelta, list[StepRun]]]:
    found: dict[float, list[StepRun]] = defaultdict(list)
    for step in steps:
        found[delay_of(step)].append(step)
    return [(timedelta(seconds=delay), some) for delay, some in found.items()]


def _grace(_: StepRun) -> float:
    return saga_settings().RESEND_SECONDS


def _with_its_sends(step: StepRun) -> float:
    """Double with each message that nobody claimed."""
    conf = saga_settings()
    return min(conf.RESEND_SECONDS * 2.0 ** min(step.sends, 20), conf.RESEND_MAX_SECONDS)


def _with_its_age(step: StepRun) -> float:
    """Double with the time for which a message has waited."""
    conf = saga_settings()
    assert step.send_at is not None  # noqa: S101 the row's check constraint
    assert step.sent_at is not None  # noqa: S101 else it waits in no queue
    age = (step.send_at - step.sent_at).total_seconds()
    delay = conf.RESEND_SECONDS
    while delay < conf.RESEND_MAX_SECONDS and age >= delay:
        delay *= 2
    return min(delay, conf.RESEND_MAX_SECONDS)


def _unknown(step: StepRun) -> SagaError | None:
    """Return why this deployment cannot run a step; another worker may have its handler."""
    try:
        definition_of(step.run, step)
    except (UnknownHandler, UnknownSaga) as error:
        return error
    return None


def _tell_unknown(step: StepRun) -> bool:
    error = _unknown(step)
    return error is not None and transitions.mark_handler_missing(step, error)
