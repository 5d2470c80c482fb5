"""What the order page shows of a run: the same facts for the template and for the script."""

from datetime import UTC, datetime
from typing import Any

from sagas.models import SagaRun, StepRun
from sagas.states import ACTIVE_SAGAS, SagaState, StepState


def status_of(run: SagaRun) -> dict[str, Any]:
    """Return plain JSON data about ``run`` and its steps, undoing last."""
    return {
        "id": str(run.pk),
        "label": run.label,
        "key": run.key,
        "state": run.state,
        "state_word": str(SagaState(run.state).label),
        "active": run.state in ACTIVE_SAGAS,
        "outcome": run.outcome,
        "error": run.error,
        "error_code": run.error_code,
        "explanation": run.explain(),
        "created": _iso(run.created_at),
        "updated": _iso(run.updated_at),
        "completed": _iso(run.completed_at),
        "steps": [_step(step) for step in run.steps.order_by("-direction", "position")],
    }


def _step(step: StepRun) -> dict[str, Any]:
    return {
        "name": step.name,
        "words": step.handler.replace("_", " "),
        "direction": step.direction,
        "state": step.state,
        "state_word": str(StepState(step.state).label),
        "attempt": step.attempt,
        "started": _iso(step.started_at),
        "ended": _iso(step.ended_at),
        "error": step.error,
        "error_code": step.error_code,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")
