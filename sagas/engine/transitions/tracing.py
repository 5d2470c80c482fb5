"""What a trace becomes by an event: a row for it, and one for each reaction, behind who published it."""

from collections.abc import Sequence
from typing import Any

from django.db.models.functions import Now

from sagas.definitions import PlannedStep
from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import make_ready
from sagas.engine.transitions.plan import collect_ready
from sagas.engine.transitions.run import restart_count
from sagas.models import SagaRun, StepRun
from sagas.states import Direction, EventType, StepState


def event_row(run: SagaRun, name: str, carried: dict[str, Any], *, failed: bool) -> StepRun:
    """Return the row of an event, not inserted yet. It is done: nothing runs it, nothing undoes it.

    ``failed``: it tells of a failure, and no reaction is begun.
    """
    row = _row(run, name, carried)
    row.state = StepState.SKIPPED if failed else StepState.SUCCEEDED
    row.handler = carried["event"]
    row.ended_at = Now()
    return row


def reaction_row(run: SagaRun, planned: PlannedStep, carried: dict[str, Any]) -> StepRun:
    """Return the row of a reaction to an event, not inserted yet."""
    row = _row(run, planned.name, carried)
    row.options = planned.options
    row.handler, row.compensation = planned.handler, planned.compensation
    row.pivot, row.critical, row.timeout = planned.pivot, planned.critical, planned.timeout
    return row


def _row(run: SagaRun, name: str, carried: dict[str, Any]) -> StepRun:
    return StepRun(
        run_id=run.pk,
        name=name,
        direction=Direction.FORWARD,
        input=carried,
        idempotency_key=f"{run.pk}:{name}",
    )


def places_in_trace(change: RunChange) -> dict[str, int]:
    """Return the places of a trace's forward rows, by name."""
    rows = StepRun.objects.forward().filter(run_id=change.run.pk)
    return dict(rows.values_list("name", "position"))


def insert_events(
    change: RunChange, events: Sequence[tuple[StepRun, Sequence[StepRun]]], *, first_place: int
) -> None:
    """Insert events, each with the reactions to it, which are ready."""
    for event, reactions in events:
        event.successors = [str(row.pk) for row in reactions]
        names = ", ".join(row.name for row in reactions)
        note = f"for {names}" if names else "nothing reacts to it"
        change.event_log.record_step(EventType.PUBLISHED, event, "", event.state, note)
    rows = [row for event, reactions in events for row in (event, *reactions)]
    ready = [row for _, reactions in events for row in reactions]
    for place, row in enumerate(rows, start=first_place):
        row.position = place
    for row in ready:
        make_ready(row, change.grace)
    StepRun.objects.bulk_create(rows)
    collect_ready(change, ready)
    restart_count(change, change.run.remaining + len(ready))


def follow(step: StepRun, events: Sequence[StepRun]) -> None:
    """Say that these events come after ``step``, so that what they led to is undone before it.

    Nothing is released by that: the step in hand stays the last one of its branch, and is counted so.
    """
    StepRun.objects.filter(pk=step.pk).update(successors=[str(event.pk) for event in events])
