"""A dead letter goes on exactly where it stopped; what is done is not repeated."""

from typing import Any

from sagas.engine import compensate, forward, transitions
from sagas.models import SagaRun, StepRun
from sagas.states import EventType, SagaState


def resume(change: transitions.RunChange, *, note: str, actor: str, **columns: Any) -> None:
    """Let a dead letter go on in its direction, forward with a fresh deadline.

    ``columns`` are further columns of the run, such as the count of retries.
    """
    rows = StepRun.objects.filter(run_id=change.run.pk)
    turned = is_turned(change.run, rows)
    undoing = turned or bool(compensate.past_to_undo(rows))
    if undoing and not turned:
        columns["outcome_when_undone"] = SagaState.RUNNING
    elif not undoing:
        transitions.give_up_rewind(change)
        columns |= forward.columns_anew(change)
    transitions.move_run(
        change,
        SagaState.COMPENSATING if undoing else SagaState.RUNNING,
        EventType.RETRIED,
        note=note,
        actor=actor,
        compensation_error="",
        auto_retry_at=None,
        poisoned=False,
        **columns,
    )
    change.run.outcome_when_undone = columns.get(
        "outcome_when_undone", change.run.outcome_when_undone
    )
    if undoing:
        compensate.begin_undo_if_idle(change, anew=True)
    else:
        forward.resume_forward(change)


def is_turned(run: SagaRun, steps: Any) -> bool:
    """Whether a dead letter goes on backward: it began to undo, or was about to. ``steps`` are all."""
    rows = list(steps)
    if any(step.is_backward and not step.is_past for step in rows):
        return True
    turned = compensate.turned([step for step in rows if not step.is_backward], run)
    return bool(run.outcome_when_undone) and not compensate.is_past_pivot(run, turned)
