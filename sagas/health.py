"""Is the machinery up? Read-only answers for the admin, the command line and probes.

Every query here costs the same however many finished runs there are, :func:`counts_by_state` aside.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, QuerySet
from django.db.models.functions import Now

from sagas.models import SagaRun, StepRun, SweepRecord
from sagas.models.moments import aware
from sagas.states import ACTIVE_SAGAS, FINAL_SAGAS, SagaState, StepState


SWEEP_OVERDUE = timedelta(minutes=1)
"""A sweep is due about once a second; after this long without one, nothing is sweeping."""


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """When the last sweep ran, and whether that is too long ago."""

    age: timedelta | None
    worker: str
    has_active_runs: bool

    @property
    def is_overdue(self) -> bool:
        """Whether runs depend on a sweep that does not happen."""
        return self.has_active_runs and (self.age is None or self.age > SWEEP_OVERDUE)


def sweep_status() -> SweepStatus:
    """Say how long ago the last sweep ran, by the database's clock."""
    last = SweepRecord.objects.annotate(now=Now()).values_list("swept_at", "now", "worker").first()
    age, worker = (_age(last[0], last[1]), last[2]) if last else (None, "")
    return SweepStatus(age=age, worker=worker, has_active_runs=SagaRun.objects.active().exists())


def open_counts() -> dict[str, int]:
    """Count the runs that are not final, by state."""
    return _count(SagaRun.objects.exclude(state__in=FINAL_SAGAS), set(SagaState) - FINAL_SAGAS)


def counts_by_state() -> dict[str, int]:
    """Count all runs by state: a scan of the table."""
    return _count(SagaRun.objects.all(), set(SagaState))


def oldest_due_step_age() -> timedelta | None:
    """Return for how long the longest-waiting step has been due without a worker claiming it."""
    due = StepRun.objects.filter(
        state=StepState.READY,
        due_at__lte=Now(),
        run__state__in=ACTIVE_SAGAS,
        run__paused_at__isnull=True,
    )
    oldest = due.annotate(now=Now()).order_by("due_at").values_list("due_at", "now").first()
    return _age(oldest[0], oldest[1]) if oldest and oldest[0] else None


def _count(runs: "QuerySet[SagaRun]", states: set[SagaState]) -> dict[str, int]:
    counted = dict(runs.order_by().values_list("state").annotate(Count("pk")))
    return {state.value: counted.get(state.value, 0) for state in SagaState if state in states}


def _age(moment: datetime, now: datetime) -> timedelta:
    return max(aware(now) - aware(moment), timedelta(0))
