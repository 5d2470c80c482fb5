"""Events, collected while a transaction runs and written by it in one statement."""

import logging

from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import EventType


logger = logging.getLogger("sagas")

ACTOR_LENGTH = 150


class Journal:
    """The events of one transaction."""

    def __init__(self) -> None:
        """Start empty."""
        self._events: list[SagaEvent] = []
        self._subjects: list[str] = []

    def tell_step(
        self,
        type_: EventType,
        step: StepRun,
        from_state: str,
        to_state: str,
        note: str = "",
        actor: str = "",
    ) -> None:
        """Tell what happened to a step."""
        self._subjects.append(str(step))
        self._events.append(
            SagaEvent(
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

    def tell_run(
        self,
        type_: EventType,
        run: SagaRun,
        from_state: str,
        to_state: str,
        note: str = "",
        actor: str = "",
    ) -> None:
        """Tell what happened to a run."""
        self._subjects.append("saga")
        self._events.append(
            SagaEvent(
                run_id=run.pk,
                type=type_,
                from_state=from_state,
                to_state=to_state,
                note=note,
                actor=_fitting(actor),
            )
        )

    def write(self) -> None:
        """Insert the events; the caller's transaction makes them true."""
        SagaEvent.objects.bulk_create(self._events)
        self.log()

    def log(self) -> None:
        """Only log the events: the statement that made the change has inserted them itself."""
        for subject, event in zip(self._subjects, self._events, strict=True):
            logger.info(
                "%s: %s → %s (%s)",
                subject,
                event.from_state,
                event.to_state,
                event.type,
                extra={
                    "action": str(event.type),
                    "saga_id": str(event.run_id),
                    "step_id": str(event.step_id or ""),
                },
            )
        self._events.clear()
        self._subjects.clear()


def _fitting(actor: str) -> str:
    return actor.replace("\x00", "")[:ACTOR_LENGTH]
