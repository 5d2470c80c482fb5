"""A claim: one attempt of one step begins, by a message or in place."""

from datetime import timedelta
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Coalesce, Now

from sagas.conf import saga_settings
from sagas.engine.database import ClockNow, saga_database
from sagas.engine.isolation import read_committed
from sagas.engine.transitions import postgresql
from sagas.engine.transitions.direction import goes_its_way
from sagas.engine.transitions.events import EventLog
from sagas.engine.transitions.values import Claimant
from sagas.models import StepRun
from sagas.states import STEP_ARROWS, EventType, StepState, require_arrow


def claim(step_id: UUID, fence: int, *, task_id: str, worker: str) -> StepRun | None:
    """Start an attempt: ``ready`` → ``running``. Opens its own transaction.

    Returns the step with its run, or None when the message is late, doubled or forged, the step is
    not due, or its run is not going on. The attempt counts from here, so that a payload that kills
    workers is bounded.
    """
    if postgresql.in_use():
        return postgresql.claim(step_id, fence, task_id=task_id, worker=worker)
    with read_committed(saga_database()):
        step = claim_ready(step_id, fence, Claimant(task_id=task_id, worker=worker))
        if step is not None:
            event_log = EventLog()
            record_claim(event_log, step, StepState.READY)
            event_log.write()
    return step


def claim_ready(step_id: UUID, fence: int, claimant: Claimant) -> StepRun | None:
    """Do the update of a claim; the caller tells it, in its transaction."""
    # The state and the fence stand in the UPDATE itself, not in a sub-query: PostgreSQL
    # evaluates them again on the row that a concurrent winner left.
    won = StepRun.objects.filter(
        goes_its_way(paused_at__isnull=True),
        pk=step_id,
        state=StepState.READY,
        fence=fence,
        due_at__lte=Now(),
    ).update(
        state=StepState.RUNNING,
        fence=F("fence") + 1,
        attempt=F("attempt") + 1,
        lease_until=ClockNow() + timedelta(seconds=saga_settings().LEASE_SECONDS),
        started_at=ClockNow(),
        updated_at=Now(),
        ended_at=None,
        # Without a timeout the sum is NULL, and the step never expires.
        expires_at=Coalesce(F("expires_at"), ClockNow() + F("timeout")),
        task_id=claimant.task_id,
        worker=claimant.worker,
    )
    return StepRun.objects.select_related("run").get(pk=step_id) if won else None


def record_claim(event_log: EventLog, step: StepRun, came_from: StepState) -> None:
    """Tell that an attempt began, and where."""
    require_arrow(STEP_ARROWS, came_from, StepState.RUNNING)
    event_log.record_step(
        EventType.STEP_CLAIMED, step, came_from, StepState.RUNNING, note=step.worker
    )
