"""Runs and their steps come into being."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from sagas.database import saga_database
from sagas.models import SagaRun, StepRun
from sagas.states import EventType, SagaState, StepState
from sagas.transitions import postgresql
from sagas.transitions.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Birth:
    """A run that is to be inserted with its forward steps, and how long it may take."""

    run: SagaRun
    steps: Sequence[StepRun]
    timeout: timedelta


def insert_runs(births: Sequence[Birth], *, grace: timedelta) -> list[SagaRun]:
    """Insert runs with their forward steps, where their label and key are free.

    All at once or none. Sets the states: ``running``, and ``ready`` for steps without ``blockers``.
    ``grace`` is how long the sweep leaves the sending to the caller. Returns the
    stored runs in the same order; ``created`` is False for one that had label and key before.
    """
    for birth in births:
        birth.run.state = SagaState.RUNNING
    insert = _insert_by_statement if postgresql.in_use() else _insert
    new = {run.pk: run for run in insert(births, grace)}
    for run in new.values():
        run.created = True
    return [
        new.get(birth.run.pk) or SagaRun.objects.get(label=birth.run.label, key=birth.run.key)
        for birth in births
    ]


def _insert_by_statement(births: Sequence[Birth], grace: timedelta) -> list[SagaRun]:
    made = postgresql.insert_runs(births, grace)
    _first_events(birth for birth in births if birth.run in made).log()
    return made


def _insert(births: Sequence[Birth], grace: timedelta) -> list[SagaRun]:
    for birth in births:
        birth.run.deadline = Now() + birth.timeout  # evaluated by the INSERT
        for step in birth.steps:
            if step.blockers == 0:
                make_ready(step, grace)
    with transaction.atomic(using=saga_database(), savepoint=False):
        SagaRun.objects.bulk_create([birth.run for birth in births], ignore_conflicts=True)
        made = SagaRun.objects.in_bulk([birth.run.pk for birth in births])
        new = [birth for birth in births if birth.run.pk in made]
        StepRun.objects.bulk_create([step for birth in new for step in birth.steps])
        _first_events(new).write()
    return list(made.values())


def _first_events(births: Iterable[Birth]) -> Journal:
    """Return the first events of new runs."""
    journal = Journal()
    for birth in births:
        journal.tell_run(EventType.STARTED, birth.run, "", SagaState.RUNNING)
        for step in birth.steps:
            if step.blockers == 0:
                journal.tell_step(EventType.STEP_READY, step, StepState.PENDING, StepState.READY)
    return journal


def make_ready(step: StepRun, grace: timedelta) -> None:
    """Make a step that is not inserted yet ready from its first moment."""
    step.state = StepState.READY
    for column, moment in due_now(grace).items():
        setattr(step, column, moment)


def due_now(grace: timedelta, delay: timedelta = timedelta()) -> Mapping[str, Any]:
    """Return the columns of a step that is due after ``delay``, and sent ``grace`` later if unclaimed."""
    return {"due_at": Now() + delay, "send_at": Now() + delay + grace}
