"""New runs and their steps are inserted."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from sagas.definitions import Plan
from sagas.engine.database import saga_database
from sagas.engine.isolation import read_committed
from sagas.engine.transitions.events import EventLog
from sagas.engine.transitions.postgresql import in_use, start
from sagas.engine.transitions.values import InsertedRun, NewRun
from sagas.models import SagaRun, StepRun
from sagas.states import Direction, EventType, SagaState, StepState


def insert_runs(plan: Plan, new_runs: Sequence[NewRun], *, grace: timedelta) -> list[InsertedRun]:
    """Insert runs with their forward steps, where their label and key are free.

    All at once or none. Sets the states: ``running``, and ``ready`` for steps without ``pending_predecessors``.
    ``grace`` is how long the sweep leaves the sending to the caller. Returns the stored runs in the
    same order; ``created`` is False, and nothing to be sent, for one that was there before.
    """
    insert = _insert_by_statement if in_use() else _insert
    inserted = {run.pk: (run, steps) for run, steps in insert(plan, new_runs, grace)}
    for run, _ in inserted.values():
        run.created = True
    return [inserted.get(new.id) or (_stored(plan.label, new.key), ()) for new in new_runs]


def _stored(label: str, key: str) -> SagaRun:
    return SagaRun.objects.get(label=label, key=key)


def _insert_by_statement(
    plan: Plan, new_runs: Sequence[NewRun], grace: timedelta
) -> list[InsertedRun]:
    inserted = start.insert_runs(plan, new_runs, grace)
    _first_events(inserted).log()
    return inserted


def _insert(plan: Plan, new_runs: Sequence[NewRun], grace: timedelta) -> list[InsertedRun]:
    rows = [SagaRun(**_run_columns(plan, new)) for new in new_runs]
    with read_committed(saga_database(), savepoint=False):
        SagaRun.objects.bulk_create(rows, ignore_conflicts=True)
        made = SagaRun.objects.in_bulk([new.id for new in new_runs])
        steps = {new.id: _steps(plan, new, grace) for new in new_runs if new.id in made}
        StepRun.objects.bulk_create([step for each in steps.values() for step in each])
        inserted: list[InsertedRun] = [
            (made[key], [step for step in each if step.pending_predecessors == 0])
            for key, each in steps.items()
        ]
        _first_events(inserted).write()
    return inserted


def _run_columns(plan: Plan, new: NewRun) -> dict[str, Any]:
    return {
        "id": new.id,
        "label": plan.label,
        "version": plan.version,
        "key": new.key,
        "state": SagaState.RUNNING,
        "remaining": plan.remaining,
        "parent_step_id": new.parent_step,
        "input": new.input,
        "tags": new.tags,
        "options": plan.options,
        "deadline": Now() + plan.timeout,  # evaluated by the INSERT
    }


def _steps(plan: Plan, new: NewRun, grace: timedelta) -> list[StepRun]:
    rows = []
    for position, (pk, step) in enumerate(zip(new.step_ids, plan.steps, strict=True)):
        row = StepRun(
            id=pk,
            run_id=new.id,
            name=step.name,
            direction=Direction.FORWARD,
            position=position,
            handler=step.handler,
            compensation=step.compensation,
            pending_predecessors=step.pending_predecessors,
            successors=[str(new.step_ids[place]) for place in step.successors],
            in_place=step.in_place,
            pivot=step.pivot,
            critical=step.critical,
            detached=step.detached,
            options=step.options,
            timeout=step.timeout,
            input=step.input,
            idempotency_key=f"{new.id}:{step.name}",
        )
        if step.pending_predecessors == 0:
            make_ready(row, grace)
        rows.append(row)
    return rows


def _first_events(inserted: Iterable[InsertedRun]) -> EventLog:
    """Return the first events of new runs."""
    event_log = EventLog()
    for run, steps in inserted:
        event_log.record_run(EventType.STARTED, run, "", SagaState.RUNNING)
        for step in steps:
            event_log.record_step(EventType.STEP_READY, step, StepState.PENDING, StepState.READY)
    return event_log


def make_ready(step: StepRun, grace: timedelta) -> None:
    """Make a step that is not inserted yet ready from its first moment."""
    step.state = StepState.READY
    for column, moment in due_now(grace).items():
        setattr(step, column, moment)


def fresh_life(step: StepRun) -> dict[str, Any]:
    """Return the columns of a step that begins once more: no attempts, limits or answers of before.

    The key stays, and so does doubt. A forward step may go on from its last heartbeat, for what it did
    still stands; a compensation may not, because there is something new to undo.
    """
    progress = {"heartbeat": None} if step.is_backward else {}
    return {
        "attempt": 0,
        "reconcile_attempts": None,
        "answer": None,
        "lease_until": None,
        "started_at": None,
        "ended_at": None,
        "expires_at": None,
        **progress,
    }


def due_now(grace: timedelta, delay: timedelta = timedelta()) -> Mapping[str, Any]:
    """Return the columns of a step that is due after ``delay``.

    With a ``grace`` the caller sends its message right after the commit, and the sweep looks after it
    so much later; without one the sweep sends it when it is due.
    """
    sent = {"sent_at": Now(), "sends": 1} if grace else {"sent_at": None, "sends": 0}
    return {"due_at": Now() + delay, "send_at": Now() + delay + grace, **sent}
