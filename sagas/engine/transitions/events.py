"""Events, collected while a transaction runs and written by it in one statement."""

import logging
from dataclasses import dataclass
from uuid import UUID

from sagas.engine.announcing import Announcement, announce_on_commit, announcement_of
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import EventType
from sagas.texts import mended


logger = logging.getLogger("sagas")

ACTOR_LENGTH = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """An event that is not written yet: lighter than a row, because most are written by SQL."""

    subject: str
    run_id: UUID
    step_id: UUID | None
    type: EventType
    from_state: str
    to_state: str
    attempt: int
    note: str
    actor: str

    def row(self) -> SagaEvent:
        """Return the row, not inserted yet."""
        columns = {name: getattr(self, name) for name in self.__slots__ if name != "subject"}
        return SagaEvent(**columns)


class EventLog:
    """The events of one transaction."""

    def __init__(self) -> None:
        """Start empty."""
        self._events: list[PendingEvent] = []
        self._announcements: list[Announcement] = []

    def record_step(
        self,
        type_: EventType,
        step: StepRun,
        from_state: str,
        to_state: str,
        note: str = "",
        actor: str = "",
    ) -> None:
        """Tell what happened to a step."""
        self._events.append(
            PendingEvent(
                subject=str(step),
                run_id=step.run_id,
                step_id=step.pk,
                type=type_,
                from_state=from_state,
                to_state=to_state,
                attempt=step.attempt,
                note=note,
                actor=_fitting(actor),
            )
        )

    def record_run(
        self,
        type_: EventType,
        run: SagaRun,
        from_state: str,
        to_state: str,
        note: str = "",
        actor: str = "",
    ) -> None:
        """Tell what happened to a run."""
        announcement = announcement_of(run, from_state, to_state)
        if announcement is not None:
            self._announcements.append(announcement)
        self._events.append(
            PendingEvent(
                subject="saga",
                run_id=run.pk,
                step_id=None,
                type=type_,
                from_state=from_state,
                to_state=to_state,
                attempt=0,
                note=note,
                actor=_fitting(actor),
            )
        )

    def write(self) -> None:
        """Insert the events; the caller's transaction makes them true."""
        SagaEvent.objects.bulk_create([event.row() for event in self._events])
        self.log()

    def log(self) -> None:
        """Only log and announce them: the statement that made the change has inserted them itself."""
        if logger.isEnabledFor(logging.INFO):
            for event in self._events:
                _log(event)
        self._events.clear()
        announce_on_commit(self._announcements)
        self._announcements = []


def _log(event: PendingEvent) -> None:
    logger.info(
        "%s: %s → %s (%s)",
        event.subject,
        event.from_state,
        event.to_state,
        event.type,
        extra={
            "action": str(event.type),
            "saga_id": str(event.run_id),
            "step_id": str(event.step_id or ""),
        },
    )


def _fitting(actor: str) -> str:
    return mended(actor, length=ACTOR_LENGTH)
