"""Run sagas in this process, without a broker: each ready row is executed as a message would do."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Outcome
from sagas.engine.execute import execute
from sagas.engine.transitions import claim
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.testing.running import execute_ready, ready_steps


__all__ = [
    "claimed",
    "drive",
    "everything",
    "expire_lease",
    "fresh",
    "nothing_is_written",
    "ready_steps",
    "run_one",
    "states",
    "step_of",
]


def run_one(run: SagaRun, name: str | None = None) -> str:
    """Execute the first ready step, or the ready one of this name."""
    step = next(step for step in ready_steps(run) if name in {None, step.name})
    return execute(step.pk, step.fence)


def drive(run: SagaRun, *, limit: int = 200, skip_backoff: bool = True) -> SagaRun:
    """Execute what is ready until nothing is; returns the run as it then stands."""
    return execute_ready(run, limit=limit, skip_delays=skip_backoff)


def fresh(run: SagaRun) -> SagaRun:
    """Return the run as the database has it."""
    return SagaRun.objects.get(pk=run.pk)


def step_of(run: SagaRun, name: str, *, direction: str = "forward") -> StepRun:
    """Return one row of a run."""
    return StepRun.objects.get(run=run, name=name, direction=direction)


def states(run: SagaRun, direction: str = "forward") -> dict[str, str]:
    """Return the states of a run's steps, by name."""
    return {s.name: s.state for s in StepRun.objects.filter(run=run, direction=direction)}


def won(attempt: StepRun, outcome: Outcome) -> bool:
    """Record an outcome; whether it counted."""
    return record_outcome(attempt, outcome).won


def claimed(run: SagaRun, name: str, direction: str = "forward") -> StepRun:
    """Begin an attempt of a ready step as a worker does, and leave it in flight."""
    row = step_of(run, name, direction=direction)
    attempt = claim(row.pk, row.fence, task_id="", worker="")
    assert attempt is not None
    return attempt


def expire_lease(step_id: UUID) -> None:
    """Let the lease of an attempt run out, as a dead process would."""
    StepRun.objects.filter(pk=step_id).update(lease_until=Now() - timedelta(seconds=1))


def everything() -> list[Any]:
    """Return all that is stored of all sagas, to see whether something has changed."""
    return [list(model.objects.order_by("pk").values()) for model in (SagaRun, StepRun, SagaEvent)]


def nothing_is_written() -> bool:
    """Whether there is no row of any saga."""
    return not (SagaRun.objects.exists() or StepRun.objects.exists() or SagaEvent.objects.exists())
