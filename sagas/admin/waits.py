"""What the page of a run says of the steps in it that wait for an outside party."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sagas.durations import format_duration
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.models.explaining import end_of_wait
from sagas.models.moments import aware
from sagas.operations.approving import approvals_needed, approvals_of
from sagas.states import EventType, StepState


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A step's wait, by the clock of the database, which is the one that ends it."""

    asked_for: str
    """What the handler said that it waits for; most say it, none has to."""
    key: str
    """The idempotency key, by which the outside party knows the request."""
    since: datetime | None
    lasted: str
    until: datetime | None
    """None: nothing but its saga ends it."""
    left: timedelta
    is_by_deadline: bool
    """The saga's deadline comes first."""
    is_paused: bool
    """Its time stands still."""
    permission: str
    """Who may approve it has this one; empty: no approval is waited for."""
    approved_by: Sequence[str]
    approvals_needed: int
    remind_at: datetime | None

    @property
    def is_overdue(self) -> bool:
        """Whether its time is up, and no sweep has ended it yet."""
        return self.until is not None and self.left <= timedelta(0) and not self.is_paused

    @property
    def time_left(self) -> str:
        """How long there is still, or has no longer been, time."""
        return format_duration(abs(self.left))


def waits_of(run: SagaRun, steps: Sequence[Any], now: datetime) -> dict[UUID, Wait]:
    """Return the waits of those of these steps that do, by the step's id."""
    waiting = [step for step in steps if step.state == StepState.WAITING]
    begun = _begun(run, waiting)
    return {step.pk: _wait(run, step, begun, now) for step in waiting}


def _begun(run: SagaRun, waiting: Sequence[StepRun]) -> Mapping[UUID | None, SagaEvent]:
    """Return the event with which each wait began: it knows when."""
    if not waiting:
        return {}
    events = run.events.filter(type=EventType.STEP_WAITING, step__in=waiting)
    return {event.step_id: event for event in events.order_by("pk")}


def _wait(
    run: SagaRun, step: StepRun, begun: Mapping[UUID | None, SagaEvent], now: datetime
) -> Wait:
    event = begun.get(step.pk)
    until, is_by_deadline = end_of_wait(run, step)
    return Wait(
        asked_for=step.wait_terms.get("note", ""),
        key=step.idempotency_key,
        since=event.at if event else None,
        lasted=format_duration(max(aware(now) - aware(event.at), timedelta(0))) if event else "",
        until=until,
        left=aware(until) - aware(run.paused_at or now) if until else timedelta(0),
        is_by_deadline=is_by_deadline,
        is_paused=run.paused_at is not None,
        permission=step.wait_terms.get("permission", ""),
        approved_by=[given["name"] for given in approvals_of(step)],
        approvals_needed=approvals_needed(step),
        remind_at=step.lease_until if step.is_to_remind else None,
    )
