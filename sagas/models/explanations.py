"""Why a run is where it is, and what happens next: in one sentence for a human."""

from typing import Any

from sagas.models.moments import format_moment
from sagas.states import ACTIVE_SAGAS, OPEN_STEPS, SagaState


def explain(run: Any) -> str:
    """Say in one sentence why the run is where it is and what happens next."""
    if run.state not in ACTIVE_SAGAS:
        return _explain_end(run)
    cause = run.error if run.is_rewinding else f"{run.failed_step or 'the saga'}: {run.error}"
    because = f" because {cause}" if run.error else ""
    if run.paused_at is not None:
        return f"{_way(run)}{because}; {_paused(run)}, by hand."
    step = run.next_step()
    where = step.explain() if step else "no step is ready."
    return f"{_way(run)}{because}; {where}"


def _way(run: Any) -> str:
    if run.state == SagaState.RUNNING:
        return "Going forward"
    if not run.is_rewinding:
        return "Turning back"
    what = f"Rewinding to {run.rewind_to}" if run.rewind_to else "Undoing what came late"
    return f"{what}, to go forward again,"


def _owned(run: Any) -> list[str]:
    failed = list(run.failed_steps().filter(critical=True).only("options", "direction"))
    undoing = [step for step in failed if step.is_backward]
    owners = dict.fromkeys(step.owner for step in undoing or failed if step.owner)
    return [f"It is owned by {' and '.join(owners)}."] if owners else []


def _paused(run: Any) -> str:
    return f"paused since {format_moment(run.paused_at)}"


def _explain_end(run: Any) -> str:
    if run.state == SagaState.COMPLETED:
        facts = ["Completed: every critical step succeeded."]
        facts += ["A best-effort step failed and needs follow-up."] * run.has_warnings
        rest = run.steps.filter(state__in=OPEN_STEPS)
        facts += [f"It did not wait for the rest: {step.explain()}" for step in rest]
        return " ".join(facts)
    cause = f"{run.failed_step}: {run.error}" if run.failed_step else run.error
    if run.state == SagaState.DEAD_LETTER:
        undo = f"Undoing failed with: {run.compensation_error.rstrip('.')}."
        paused = f"It is {_paused(run)}, and stays so when retried, until it is resumed."
        facts = [undo] * bool(run.compensation_error) + _owned(run)
        facts += [paused] * (run.paused_at is not None)
        return " ".join([f"Needs an operator: {cause}.", *facts])
    return f"{SagaState(run.state).label}: {cause}"
