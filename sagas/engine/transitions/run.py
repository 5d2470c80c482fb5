"""Changes of the run's own row: its state, its counters, and what it says of its steps."""

from collections.abc import Mapping
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Now

from sagas.engine.transitions import run_time
from sagas.engine.transitions.change import RunChange
from sagas.models import SagaRun, StepRun
from sagas.payloads import truncate_error
from sagas.states import (
    DONE_OR_UNDONE,
    FINAL_SAGAS,
    FORWARD_SAGAS,
    ROLLED_BACK_SAGAS,
    SAGA_ARROWS,
    UNSUCCESSFUL_STEPS,
    EventType,
    SagaState,
    StepState,
    require_arrow,
)


def move_run(
    change: RunChange,
    to: SagaState,
    event: EventType,
    *,
    note: str = "",
    actor: str = "",
    **columns: Any,
) -> None:
    """Move the locked run along an arrow, with these columns.

    Raises:
        AssertionError: no arrow leads there, which is a bug of the caller.
    """
    run = change.run
    came_from = SagaState(run.state)
    require_arrow(SAGA_ARROWS, came_from, to)
    if came_from == to and not run.is_rewinding:
        message = f"{run} is {to} already, and gives up no rewind"
        raise AssertionError(message)
    completed_at = Now() if to in FINAL_SAGAS else None
    if to in FINAL_SAGAS and run.paused_at is not None:
        run_time.end_pause(run)
    if to in FINAL_SAGAS and run.parent_step_id is not None:
        columns["owes_parent"] = True
    if came_from == SagaState.DEAD_LETTER:
        columns |= {"auto_retry_at": None, "poisoned": False}
    _update(run, state=to, completed_at=completed_at, **columns)
    run.state = to
    change.event_log.record_run(event, run, came_from, to, note, actor)


def reopen_run(change: RunChange, note: str, **columns: Any) -> None:
    """A run that was rolled back, or rewound, turns back once more: something stands, or may.

    The parent of one that was rolled back was told otherwise.
    """
    run = change.run
    if run.state in ROLLED_BACK_SAGAS and run.parent_step_id is not None:
        run.owes_parent = columns["owes_parent"] = True
    move_run(change, SagaState.COMPENSATING, EventType.REOPENED, note=note, **columns)
    restart_count(change, 0)


def parent_told(change: RunChange) -> None:
    """The step that this run is was told of its end, or is to be told of another one."""
    SagaRun.objects.filter(pk=change.run.pk).update(owes_parent=False)


def record_event(change: RunChange, event: EventType, note: str, actor: str = "") -> None:
    """Record something about the run that changes no state."""
    change.event_log.record_run(event, change.run, "", "", note, actor)


def count_down(change: RunChange) -> None:
    """One of the last steps of this direction ended."""
    _update(change.run, remaining=F("remaining") - 1)
    change.run.remaining -= 1


def restart_count(change: RunChange, remaining: int) -> None:
    """Say how many last steps of the resumed direction have not ended."""
    _update(change.run, remaining=remaining)
    change.run.remaining = remaining


def pass_pivot(change: RunChange, pivot: StepRun, state: str = StepState.SUCCEEDED) -> None:
    """From here on there is no way back; also if the pivot was skipped, for nothing undoes what follows."""
    _update(change.run, pivot_passed=True)
    change.run.pivot_passed = True
    if state == StepState.SKIPPED:
        record_event(change, EventType.PIVOT_PASSED, f"{pivot} was skipped, and counts as passed")


def set_warning(change: RunChange) -> None:
    """A best-effort step did not succeed; the run goes on and says so."""
    if not change.run.has_warnings:
        _update(change.run, has_warnings=True)
        change.run.has_warnings = True


def update_warning(change: RunChange) -> None:
    """Warn as long as a step is left that did not succeed, also while it is tried again by hand."""
    run = change.run
    left = Q(state__in=UNSUCCESSFUL_STEPS)
    if run.has_warnings:
        left |= Q(detached=True) & ~Q(state__in=DONE_OR_UNDONE)
    if run.state == SagaState.COMPLETED:
        left |= Q(state=StepState.CANCELLED)
    warns = StepRun.objects.forward().present().filter(left, run_id=run.pk).exists()
    if warns != run.has_warnings and (not warns or run.state in FORWARD_SAGAS):
        _update(run, has_warnings=warns)
        run.has_warnings = warns


def note_undo_failure(change: RunChange, error: str) -> None:
    """Keep beside the original error why undoing failed."""
    change.run.compensation_error = truncate_error(error)
    _update(change.run, compensation_error=change.run.compensation_error)


def tag(change: RunChange, tags: Mapping[str, str]) -> None:
    """Add to what operators search by."""
    run = change.run
    run.refresh_from_db(fields=["tags"])
    run.tags = {**run.tags, **tags}
    _update(run, tags=run.tags)
    note = ", ".join(f"{name}={value}" for name, value in tags.items())
    record_event(change, EventType.TAGGED, note)


def _update(run: SagaRun, **columns: Any) -> None:
    SagaRun.objects.filter(pk=run.pk, state=run.state).update(updated_at=Now(), **columns)
