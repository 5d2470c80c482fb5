"""Changes of one step row alone: its lease, and the time of the next send."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Least, Now

from sagas.conf import saga_settings
from sagas.database import ClockNow
from sagas.exceptions import SagaError
from sagas.models import StepRun
from sagas.payloads import truncate_error
from sagas.states import EventType, SagaState, StepState
from sagas.transitions.direction import goes_its_way
from sagas.transitions.journal import Journal


NO_DETAILS: Final = object()
"""Stands for "nothing was said", which None cannot."""


def renew_lease(step_id: UUID, fence: int) -> bool:
    """Extend the lease of a living attempt; False when the attempt was given up."""
    lease = timedelta(seconds=saga_settings().LEASE_SECONDS)
    renewed = StepRun.objects.filter(pk=step_id, state=StepState.RUNNING, fence=fence).update(
        lease_until=ClockNow() + lease
    )
    return bool(renewed)


def record_heartbeat(step: StepRun, details: Any = NO_DETAILS) -> bool:
    """Keep what a living attempt says of its progress; False when it should stop.

    It should when it was given up, and when the run no longer goes in its direction. A dead letter
    stands still, and may go on in either. Without ``details`` it only shows that it goes on; and what a
    question says of its progress is not the step's own.
    """
    mine = StepRun.objects.filter(
        goes_its_way(SagaState.DEAD_LETTER),
        pk=step.pk,
        state=StepState.RUNNING,
        fence=step.fence,
    )
    lease = timedelta(seconds=saga_settings().LEASE_SECONDS)
    said = {} if details is NO_DETAILS or step.asking else {"heartbeat": details}
    return bool(mine.update(heartbeat_at=Now(), lease_until=ClockNow() + lease, **said))


def shorten_lease(step_id: UUID, fence: int) -> bool:
    """Let a suspect attempt prove that it lives: its lease ends soon unless it renews it.

    An error callback is not evidence that the step failed: Celery also sends it for a step that
    succeeded while the broker was away, and before a timed-out child is dead.
    """
    moment = timedelta(seconds=saga_settings().SUSPECT_LEASE_SECONDS)
    suspected = StepRun.objects.filter(pk=step_id, state=StepState.RUNNING, fence=fence)
    return bool(suspected.update(lease_until=Least(F("lease_until"), Now() + moment)))


def hurry(step_id: UUID) -> bool:
    """Have what is ready in the run of this step sent by the next sweep."""
    of_run = StepRun.objects.filter(pk=step_id).values("run_id")
    ready = StepRun.objects.filter(run_id__in=of_run, state=StepState.READY, due_at__lte=Now())
    return bool(ready.update(send_at=Least(F("send_at"), Now())))


def end_leases_of(process: str) -> int:
    """End the leases of a process that is dead; the sweep then ends its attempts."""
    running = StepRun.objects.filter(state=StepState.RUNNING, worker=process)
    return running.update(lease_until=Now(), dead_fence=F("fence"))


def mark_sent(step_ids: Collection[UUID], *, again_in: timedelta) -> int:
    """Put off the next send of ready steps, whose messages are about to be sent."""
    ready = StepRun.objects.filter(pk__in=step_ids, state=StepState.READY)
    return ready.update(send_at=Now() + again_in)


def leave_queued(step_ids: Collection[UUID], *, longer: timedelta) -> int:
    """Put off the next send of ready steps whose messages still wait, by whole intervals."""
    ready = StepRun.objects.filter(pk__in=step_ids, state=StepState.READY)
    return ready.update(send_at=F("send_at") + longer)


def tell_unknown_handler(step: StepRun, error: SagaError) -> bool:
    """Say in a ready step why it waits: nobody here can run it. Told once, not at every sweep."""
    ready = StepRun.objects.filter(pk=step.pk, state=StepState.READY).exclude(error_code=error.code)
    told = ready.update(error_code=error.code, error=truncate_error(str(error)), updated_at=Now())
    if told:
        journal = Journal()
        journal.tell_step(EventType.HANDLER_UNKNOWN, step, "", "", str(error))
        journal.write()
    return bool(told)
