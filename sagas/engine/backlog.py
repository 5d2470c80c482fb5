"""What became of the messages that were sent and not claimed: lost, or waiting in a long queue.

A queue gives out its messages in the order in which they were sent. While it gives out older ones
than a step's, that step's message stands behind them; once it has given out a younger one, the
message is lost. Where nothing tells, it counts as lost: a message too many is harmless, one too few is not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models.functions import Now

from sagas.conf import saga_settings
from sagas.engine import dispatch
from sagas.models import SagaEvent, StepRun
from sagas.states import EventType, StepState


EVENTS = 300
"""How far back the history is read for what the queues gave out last."""

IN_ORDER = timedelta(seconds=2)
"""Messages that were sent by different processes within so long may stand in another order."""


@dataclass
class Fates:
    """Ready steps whose messages are due, by what is known of them; each list in its given order."""

    lost: list[StepRun] = field(default_factory=list)
    queued: list[StepRun] = field(default_factory=list)
    silent: list[StepRun] = field(default_factory=list)
    """Nobody has read their queue for a while."""

    unsent: list[StepRun] = field(default_factory=list)
    """They were never sent, or that failed."""


def fates_of(steps: Iterable[StepRun], limit: int) -> Fates:
    """Say what became of the messages of these ready steps, and which others were lost with them.

    The others are not due to be looked after yet, but were sent before one that their queue gave out.
    """
    fates = Fates()
    sent: list[StepRun] = []
    for step in steps:
        (sent if step.sent_at else fates.unsent).append(step)
    if not sent:
        return fates
    given_out = _given_out_last()
    empty: dict[str, bool] = {}
    overtaken = []
    for step in sent:
        assert step.sent_at is not None  # noqa: S101 only such are in the list
        youngest = given_out.get(dispatch.line_of(step))
        if youngest is not None and youngest > step.sent_at:
            overtaken.append(step)
            continue
        queue = dispatch.queue_of(step)
        if queue not in empty:
            empty[queue] = dispatch.is_empty(queue)
        if empty[queue]:
            fates.lost.append(step)
        else:
            (fates.silent if youngest is None else fates.queued).append(step)
    others = _sent_before(given_out, overtaken, limit) if overtaken else []
    fates.lost = sorted([*fates.lost, *overtaken, *others], key=_due_at)
    return fates


def _due_at(step: StepRun) -> datetime:
    assert step.due_at is not None  # noqa: S101 the row's check constraint
    return step.due_at


def _sent_before(
    given_out: dict[dispatch.Line, datetime], overtaken: Iterable[StepRun], limit: int
) -> list[StepRun]:
    """Return the other steps whose messages were lost with those of ``overtaken``."""
    lines = {dispatch.line_of(step) for step in overtaken}
    youngest = {line: moment - IN_ORDER for line, moment in given_out.items() if line in lines}
    sent = StepRun.objects.awaited(Now()).filter(sent_at__lt=max(youngest.values()))
    found = []
    for step in sent.select_related("run").order_by("sent_at")[:limit]:
        before = youngest.get(dispatch.line_of(step))
        if before is not None and step.sent_at is not None and step.sent_at < before:
            found.append(step)
    return found


def _given_out_last() -> dict[dispatch.Line, datetime]:
    """Return when the youngest message was sent that each queue gave out in the last moments."""
    moments = timedelta(seconds=saga_settings().RESEND_SECONDS)
    # Read as it is written, by its end: the conditions are few rows' business.
    latest = SagaEvent.objects.order_by("-id").annotate(oldest=Now() - moments)
    claims = {
        step_id
        for step_id, type_, came_from, at, oldest in latest.values_list(
            "step_id", "type", "from_state", "at", "oldest"
        )[:EVENTS]
        if (type_, came_from) == (EventType.STEP_CLAIMED, StepState.READY) and at >= oldest
    }
    claimed = StepRun.objects.filter(pk__in=claims, sent_at__isnull=False)
    found: dict[dispatch.Line, datetime] = {}
    for step in claimed.select_related("run").order_by("sent_at"):
        line = dispatch.came_from(step)
        if line is not None and step.sent_at is not None:
            found[line] = step.sent_at
    return found
