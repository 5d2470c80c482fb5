"""Which messages still wait in a long queue, and need not be sent again.

A queue gives out its messages in the order in which they came. While it gives out older ones than a
step's, that step's message stands behind them; once it has given out a younger one, the message is
lost. Where nothing tells, it counts as lost: a message too many is harmless, one too few is not.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models.functions import Now

from sagas import dispatch
from sagas.conf import saga_settings
from sagas.models import SagaEvent, StepRun
from sagas.states import EventType, StepState


EVENTS = 300
"""How far back the history is read for what the queues gave out last."""


def still_queued(steps: Iterable[StepRun]) -> set[UUID]:
    """Return those of these ready steps whose messages wait behind others."""
    sent_once = [step for step in steps if _was_sent_once(step)]
    if not sent_once:
        return set()
    given_out = _given_out_last()
    behind = [step for step in sent_once if _is_behind(step, given_out)]
    empty = {
        queue: dispatch.is_empty(queue) for queue in {dispatch.queue_of(one) for one in behind}
    }
    return {step.pk for step in behind if not empty[dispatch.queue_of(step)]}


def _was_sent_once(step: StepRun) -> bool:
    """Whether nothing but waiting happened since the step became due.

    Then its next send is whole intervals later: whatever else puts it off, counts from another moment.
    """
    assert step.send_at is not None  # noqa: S101 the row's check constraint
    assert step.due_at is not None  # noqa: S101
    waited = step.send_at - step.due_at
    return bool(waited) and not waited % timedelta(seconds=saga_settings().RESEND_SECONDS)


def _is_behind(step: StepRun, given_out: dict[str, datetime]) -> bool:
    youngest = given_out.get(dispatch.queue_of(step))
    return youngest is not None and step.due_at is not None and youngest <= step.due_at


def _given_out_last() -> dict[str, datetime]:
    """Return since when the youngest step was due that each queue gave out in the last moments."""
    latest = SagaEvent.objects.order_by("-id").values("pk")[:EVENTS]
    claims = SagaEvent.objects.filter(
        pk__in=latest,
        type=EventType.STEP_CLAIMED,
        from_state=StepState.READY,
        at__gte=Now() - timedelta(seconds=saga_settings().RESEND_SECONDS),
    )
    found: dict[str, datetime] = {}
    for step in StepRun.objects.filter(pk__in=claims.values("step_id")).order_by("due_at"):
        if step.due_at is not None:
            found[dispatch.queue_of(step)] = step.due_at
    return found
