"""A run's own time, which a pause stops: its deadline, the times of its steps, and their waits."""

from datetime import timedelta
from typing import Any

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Value
from django.db.models.functions import Now

from sagas.models import SagaRun, StepRun
from sagas.states import StepState


def later(run: SagaRun, delay: timedelta) -> Any:
    """Return the moment ``delay`` from now; ``run`` is locked.

    What begins during a pause counts from the beginning of the pause, and :func:`end_pause` adds all of it.
    """
    if run.paused_at is None:
        return Now() + delay
    return Value(run.paused_at + delay, output_field=DateTimeField())


def end_pause(run: SagaRun) -> None:
    """Let time go on: the pause counts neither for the run, which is locked, nor for its steps."""
    paused = SagaRun.objects.filter(pk=run.pk, paused_at__isnull=False)
    since = ExpressionWrapper(Now() - F("paused_at"), output_field=DurationField())
    length = paused.values_list(since, flat=True).get()
    paused.update(paused_at=None, deadline=F("deadline") + length, updated_at=Now())
    run.paused_at = None
    steps = StepRun.objects.filter(run_id=run.pk)
    timed = steps.filter(expires_at__isnull=False, ended_at__isnull=True)
    timed.update(expires_at=F("expires_at") + length)
    waiting = steps.filter(state=StepState.WAITING, lease_until__isnull=False)
    waiting.update(lease_until=F("lease_until") + length)
