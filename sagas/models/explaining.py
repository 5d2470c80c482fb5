"""What is said of a step that has not ended, to operators and to whom it waits for."""

from datetime import datetime
from typing import Any

from sagas.models.moments import CLOCK, format_moment
from sagas.states import SagaState, StepState, WaitKind


def explain_step(step: Any) -> str:
    """Say what a row of steps waits for, as the second half of a sentence."""
    if step.state == StepState.RUNNING:
        where = step.worker or "a worker"
        if step.is_reconciling:
            return f"{where} asks whether {step} happened, by its reconcile."
        return f"attempt {step.attempt} of {step} runs on {where}."
    if step.state == StepState.WAITING:
        return _explain_child(step) if step.plan.child else _explain_wait(step)
    if step.state == StepState.READY and step.error_code:
        why = f"({step.error_code}: {step.error})"
        if step.is_reconciling:
            why = f"to be asked whether it happened {why}"
        return f"{step} waits until {format_moment(step.due_at, CLOCK)} {why}."
    return f"{step} is {step.state}."


def _explain_wait(step: Any) -> str:
    end, is_deadline = end_of_wait(step.run, step)
    until = f", until {format_moment(end)}" if end else ""
    until += ", the deadline of its saga" * is_deadline
    if step.is_approval:
        return f"{step} waits for somebody to approve it{until}: {step.wait_terms['note']}."
    if step.wait_terms.get("kind") == WaitKind.REMOTE:
        return f"{step} waits for the remote task {step.wait_terms['note']}{until}."
    return f"{step} waits for an outside party to complete it{until}."


def _explain_child(step: Any) -> str:
    runs = step.children.model._base_manager.order_by("-id")  # noqa: SLF001 documented by Django
    child = runs.filter(parent_step__run=step.run_id, parent_step__name=step.name).first()
    if child is None:
        return f"{step} waits for its child {step.plan.child}, which is no more."
    needs = ", which needs an operator" if child.state == SagaState.DEAD_LETTER else ""
    return f"{step} waits for its child {child} ({child.pk}): {child.state}{needs}."


def end_of_wait(run: Any, step: Any) -> tuple[datetime | None, bool]:
    """Return when the wait of a row of ``run`` ends, and whether that is the saga's deadline."""
    end: datetime | None = step.wait_ends_at
    bound = run.state == SagaState.RUNNING and not step.is_backward
    if bound and (end is None or run.deadline < end):
        return run.deadline, True
    return end, False
