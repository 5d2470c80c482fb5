"""Runs and their steps come into being."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from sagas.database import saga_database
from sagas.isolation import read_committed
from sagas.models import SagaRun, StepRun
from sagas.states import Direction, EventType, SagaState, StepState
from sagas.transitions.journal import Journal
from sagas.transitions.postgresql import in_use, start


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """What the row of a forward step is in every run of a saga."""

    name: str
    compensation: str
    blockers: int
    successors: Sequence[int]
    """Their places in the plan."""
    in_place: bool
    pivot: bool
    critical: bool
    options: Mapping[str, Any]
    timeout: timedelta | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What is the same in all runs of a saga."""

    label: str
    version: int
    options: Mapping[str, Any]
    timeout: timedelta
    steps: Sequence[PlannedStep]

    @cached_property
    def remaining(self) -> int:
        """How many steps are the last of their branch."""
        return sum(not step.successors for step in self.steps)

    @cached_property
    def first(self) -> Sequence[tuple[int, PlannedStep]]:
        """The steps that wait for no other, with their places."""
        return [(place, step) for place, step in enumerate(self.steps) if step.blockers == 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Birth:
    """What is a run's own when it is inserted."""

    id: UUID
    step_ids: Sequence[UUID]
    """In the order of the plan."""
    key: str
    input: Any
    tags: Mapping[str, str]


Born = tuple[SagaRun, Sequence[StepRun]]
"""A run with its steps that are to be sent."""


def insert_runs(plan: Plan, births: Sequence[Birth], *, grace: timedelta) -> list[Born]:
    """Insert runs with their forward steps, where their label and key are free.

    All at once or none. Sets the states: ``running``, and ``ready`` for steps without ``blockers``.
    ``grace`` is how long the sweep leaves the sending to the caller. Returns the stored runs in the
    same order; ``created`` is False, and nothing to be sent, for one that was there before.
    """
    insert = _insert_by_statement if in_use() else _insert
    new = {run.pk: (run, steps) for run, steps in insert(plan, births, grace)}
    for run, _ in new.values():
        run.created = True
    return [new.get(birth.id) or (_stored(plan.label, birth.key), ()) for birth in births]


def _stored(label: str, key: str) -> SagaRun:
    return SagaRun.objects.get(label=label, key=key)


def _insert_by_statement(plan: Plan, births: Sequence[Birth], grace: timedelta) -> list[Born]:
    born = start.insert_runs(plan, births, grace)
    _first_events(born).log()
    return born


def _insert(plan: Plan, births: Sequence[Birth], grace: timedelta) -> list[Born]:
    rows = [SagaRun(**_run_columns(plan, birth)) for birth in births]
    with read_committed(saga_database(), savepoint=False):
        SagaRun.objects.bulk_create(rows, ignore_conflicts=True)
        made = SagaRun.objects.in_bulk([birth.id for birth in births])
        steps = {birth.id: _steps(plan, birth, grace) for birth in births if birth.id in made}
        StepRun.objects.bulk_create([step for each in steps.values() for step in each])
        born: list[Born] = [
            (made[key], [step for step in each if step.blockers == 0])
            for key, each in steps.items()
        ]
        _first_events(born).write()
    return born


def _run_columns(plan: Plan, birth: Birth) -> dict[str, Any]:
    return {
        "id": birth.id,
        "label": plan.label,
        "version": plan.version,
        "key": birth.key,
        "state": SagaState.RUNNING,
        "remaining": plan.remaining,
        "input": birth.input,
        "tags": birth.tags,
        "options": plan.options,
        "deadline": Now() + plan.timeout,  # evaluated by the INSERT
    }


def _steps(plan: Plan, birth: Birth, grace: timedelta) -> list[StepRun]:
    rows = []
    for position, (pk, step) in enumerate(zip(birth.step_ids, plan.steps, strict=True)):
        row = StepRun(
            id=pk,
            run_id=birth.id,
            name=step.name,
            direction=Direction.FORWARD,
            position=position,
            handler=step.name,
            compensation=step.compensation,
            blockers=step.blockers,
            successors=[str(birth.step_ids[place]) for place in step.successors],
            in_place=step.in_place,
            pivot=step.pivot,
            critical=step.critical,
            options=step.options,
            timeout=step.timeout,
            idempotency_key=f"{birth.id}:{step.name}",
        )
        if step.blockers == 0:
            make_ready(row, grace)
        rows.append(row)
    return rows


def _first_events(born: Iterable[Born]) -> Journal:
    """Return the first events of new runs."""
    journal = Journal()
    for run, steps in born:
        journal.tell_run(EventType.STARTED, run, "", SagaState.RUNNING)
        for step in steps:
            journal.tell_step(EventType.STEP_READY, step, StepState.PENDING, StepState.READY)
    return journal


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
    progress = {"heartbeat": None, "heartbeat_at": None} if step.is_backward else {}
    return {
        "attempt": 0,
        "asking": False,
        "asked": 0,
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
