"""A run and its steps come into being."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from sagas.models import SagaRun, StepRun
from sagas.states import EventType, SagaState, StepState
from sagas.transitions.journal import Journal


def insert_run(
    run: SagaRun, steps: Sequence[StepRun], *, timeout: timedelta, grace: timedelta
) -> SagaRun:
    """Insert a run with its forward steps, if its label and key are free.

    Requires a transaction. Sets the states: ``running``, and ``ready`` for steps without
    ``blockers``. ``grace`` is how long the sweep leaves the sending to the caller. Returns the
    stored run: another one than ``run`` when label and key were taken; then nothing was written.
    """
    run.state = SagaState.RUNNING
    run.deadline = Now() + timeout  # evaluated by the INSERT
    SagaRun.objects.bulk_create([run], ignore_conflicts=True)
    stored = SagaRun.objects.get(label=run.label, key=run.key)
    if stored.pk != run.pk:
        return stored
    journal = Journal()
    journal.tell_run(EventType.STARTED, run, "", SagaState.RUNNING)
    for step in steps:
        if step.blockers == 0:
            make_ready(step, grace)
            journal.tell_step(EventType.STEP_READY, step, StepState.PENDING, StepState.READY)
    StepRun.objects.bulk_create(steps)
    journal.write()
    return stored


def make_ready(step: StepRun, grace: timedelta) -> None:
    """Make a step that is not inserted yet ready from its first moment."""
    step.state = StepState.READY
    for column, moment in due_now(grace).items():
        setattr(step, column, moment)


def due_now(grace: timedelta, delay: timedelta = timedelta()) -> Mapping[str, Any]:
    """Return the columns of a step that is due after ``delay``, and sent ``grace`` later if unclaimed."""
    return {"due_at": Now() + delay, "send_at": Now() + delay + grace}
