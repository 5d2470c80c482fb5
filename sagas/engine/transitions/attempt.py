"""Changes of one step row alone: its lease, and the time of the next send."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Greatest, Least, Now

from sagas.conf import saga_settings
from sagas.engine.database import ClockNow, saga_database
from sagas.engine.isolation import read_committed, statement_alone
from sagas.engine.transitions.direction import goes_its_way, stands_beside_rewind
from sagas.engine.transitions.events import EventLog
from sagas.exceptions import SagaError
from sagas.models import StepRun
from sagas.payloads import truncate_error
from sagas.states import EventType, SagaState, StepState


NO_DETAILS: Final = object()
"""Stands for "nothing was said", which None cannot."""

SOON_SENDS = 3
"""How often the message of a ready step is sent before an error callback no longer hastens it."""


def renew_lease(step_id: UUID, fence: int) -> bool:
    """Extend the lease of a living attempt; False when the attempt was given up."""
    lease = timedelta(seconds=saga_settings().LEASE_SECONDS)
    held = StepRun.objects.filter(pk=step_id, state=StepState.RUNNING, fence=fence)
    with statement_alone(saga_database()):
        return bool(held.update(lease_until=ClockNow() + lease))


def record_heartbeat(step: StepRun, details: Any = NO_DETAILS) -> bool:
    """Keep what a living attempt says of its progress; False when it should stop.

    It should when it was given up, and when the run no longer goes in its direction. A dead letter
    stands still, and may go on in either; for what a rewind lets stand, so does its run. Without ``details`` it only shows that it goes on; and what a
    reconcile says of its progress is not the step's own.
    """
    mine = StepRun.objects.filter(
        goes_its_way(SagaState.DEAD_LETTER) | stands_beside_rewind(),
        pk=step.pk,
        state=StepState.RUNNING,
        fence=step.fence,
    )
    lease = timedelta(seconds=saga_settings().LEASE_SECONDS)
    said = {} if details is NO_DETAILS or step.is_reconciling else {"heartbeat": details}
    with statement_alone(saga_database()):
        return bool(mine.update(lease_until=ClockNow() + lease, **said))


def shorten_lease(step_id: UUID, fence: int) -> bool:
    """Let a suspect attempt prove that it lives: its lease ends soon unless it renews it.

    An error callback is not evidence that the step failed: Celery also sends it for a step that
    succeeded while the broker was away, and before a timed-out child is dead.
    """
    moment = timedelta(seconds=saga_settings().SUSPECT_LEASE_SECONDS)
    suspected = StepRun.objects.filter(pk=step_id, state=StepState.RUNNING, fence=fence)
    with statement_alone(saga_database()):
        return bool(suspected.update(lease_until=Least(F("lease_until"), Now() + moment)))


def send_soon(step_id: UUID) -> bool:
    """Have what is ready in the run of this step sent by the next sweep, whatever was sent before.

    A message that was sent ``SOON_SENDS`` times waits for its time, as one that is lost each time does:
    it may be what kills each process before the claim, which counts its attempts, is reached.
    """
    of_run = StepRun.objects.filter(pk=step_id).values("run_id")
    ready = StepRun.objects.filter(
        run_id__in=of_run, state=StepState.READY, due_at__lte=Now(), sends__lte=SOON_SENDS
    )
    with statement_alone(saga_database()):
        return bool(ready.update(send_at=Least(F("send_at"), Now()), sent_at=None))


def end_leases_of(process: str) -> int:
    """End the leases of a process that is dead; the sweep then ends its attempts.

    Not of those whose row somebody has locked, and who must not be waited for: they run out.
    """
    running = StepRun.objects.filter(state=StepState.RUNNING, worker=process)
    free = running.select_for_update(skip_locked=True)
    with read_committed(saga_database()):
        return running.filter(pk__in=free.values("pk")).update(
            lease_until=Now(), dead_fence=F("fence")
        )


def mark_sent(steps: Iterable[StepRun], *, again_in: timedelta) -> list[StepRun]:
    """Say that messages of ready steps are sent now, and looked after later.

    Returns the steps whose messages the caller is to send; the others were claimed or sent by
    somebody else meanwhile, or their rows are locked.
    """
    seen = {step.pk: step for step in steps}
    rows = StepRun.objects.filter(pk__in=seen, state=StepState.READY)
    with read_committed(saga_database()):
        free = rows.select_for_update(skip_locked=True).values_list("pk", "fence", "sends")
        mine = [seen[pk] for pk, *at in free if at == [seen[pk].fence, seen[pk].sends]]
        rows.filter(pk__in=[step.pk for step in mine]).update(
            send_at=Now() + again_in, sent_at=Now(), sends=F("sends") + 1
        )
    for step in mine:
        step.sends += 1
    return mine


def mark_unsent(steps: Iterable[StepRun], *, again_in: timedelta, tried: bool = True) -> int:
    """Say that the messages of ready steps did not get on their way.

    It counts as a send only if it was ``tried``, and not while nothing can be sent at all.
    """
    ready = StepRun.objects.filter(
        pk__in=[step.pk for step in steps], state=StepState.READY, sent_at__isnull=False
    )
    free = ready.select_for_update(skip_locked=True)
    sends = F("sends") if tried else Greatest(F("sends") - 1, 0)
    with read_committed(saga_database()):
        return ready.filter(pk__in=free.values("pk")).update(
            sent_at=None, send_at=Now() + again_in, sends=sends
        )


def postpone_send(steps: Iterable[StepRun], *, longer: timedelta) -> int:
    """Look after ready steps later whose messages still wait, by whole intervals."""
    ready = StepRun.objects.filter(
        pk__in=[step.pk for step in steps], state=StepState.READY, send_at__lte=Now()
    )
    free = ready.select_for_update(skip_locked=True)
    with read_committed(saga_database()):
        return ready.filter(pk__in=free.values("pk")).update(send_at=F("send_at") + longer)


def send_again(step_id: UUID, fence: int, sends: int, *, again_in: timedelta) -> bool:
    """One message of a ready step is known to be gone: send it again soon, if it was the last one."""
    mine = StepRun.objects.filter(
        pk=step_id, state=StepState.READY, fence=fence, sends=sends, sent_at__isnull=False
    )
    free = mine.select_for_update(skip_locked=True)
    with read_committed(saga_database()):
        sent = mine.filter(pk__in=free.values("pk"))
        return bool(sent.update(send_at=Least(F("send_at"), Now() + again_in), sent_at=None))


def mark_handler_missing(step: StepRun, error: SagaError) -> bool:
    """Say in a ready step why it waits: nobody here can run it. Told once, not at every sweep."""
    ready = StepRun.objects.filter(pk=step.pk, state=StepState.READY).exclude(error_code=error.code)
    free = ready.select_for_update(skip_locked=True)
    with read_committed(saga_database()):
        marked = ready.filter(pk__in=free.values("pk")).update(
            error_code=error.code, error=truncate_error(str(error)), updated_at=Now()
        )
        if marked:
            event_log = EventLog()
            event_log.record_step(EventType.UNKNOWN_HANDLER, step, "", "", str(error))
            event_log.write()
    return bool(marked)
