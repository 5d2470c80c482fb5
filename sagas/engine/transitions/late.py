"""What is written when an attempt that had been given up says its word after all."""

from typing import Any

from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import due_now, fresh_life
from sagas.engine.transitions.moves import move_step
from sagas.models import StepRun
from sagas.states import EventType, StepState


def heard_from(step: StepRun, *, ended: bool) -> StepRun:
    """An attempt says its word; ``ended``: nobody acts for it any more. Returns the row as it is now.

    ``step`` is the row as the attempt had it.
    """
    row = StepRun.objects.get(pk=step.pk)
    at_large: list[int] = row.at_large or []
    if ended and step.fence in at_large:
        row.at_large = [fence for fence in at_large if fence != step.fence] or None
        StepRun.objects.filter(pk=row.pk).update(at_large=row.at_large)
    return row


def succeed_late(change: RunChange, step: StepRun, output: object) -> bool:
    """A step that was given up did happen: its end → ``succeeded``, with the result."""
    columns = {"output": output, "in_doubt": False, "error_code": "", "error": ""}
    return _end_late(change, step, StepState.SUCCEEDED, EventType.STEP_SUCCEEDED, **columns)


def doubt_late(change: RunChange, step: StepRun) -> bool:
    """A step that was said not to have happened, or to be undone, may have: its end → ``unknown``."""
    return _end_late(change, step, StepState.UNKNOWN, EventType.STEP_UNKNOWN, in_doubt=True)


def _end_late(
    change: RunChange, step: StepRun, to: StepState, event: EventType, **columns: Any
) -> bool:
    won = move_step(change, step, to, event, note="late", ended_at=Now(), **columns)
    if won:
        step.state = to
    return won


def keep_doubt(step: StepRun) -> None:
    """An earlier attempt of a step may have taken effect; what the next one says does not clear it."""
    StepRun.objects.filter(pk=step.pk).update(in_doubt=True, updated_at=Now())


def reconcile_again(change: RunChange, step: StepRun) -> None:
    """Whoever is asked at this moment may have looked before the effect: ``reconcile`` is called anew."""
    due = due_now(change.grace)
    if step.state == StepState.READY:
        ready = StepRun.objects.filter(pk=step.pk, state=StepState.READY)
        ready.update(updated_at=Now(), **due)
    elif move_step(change, step, StepState.READY, EventType.STEP_RECONCILING, **due):
        change.made_ready.append(step)


def invalidate_earlier_undo_answer(step: StepRun) -> None:
    """A word about ``step`` comes late: what was said of undoing it before no longer counts.

    An outside party that undoes it answers a request that may have come before the effect; without
    doubt in the row, that answer does not end the attempt which is still to be made.
    """
    undo = StepRun.objects.backward().filter(run_id=step.run_id, name=step.name)
    undo.update(in_doubt=False, updated_at=Now())


def undo_again(change: RunChange, undo: StepRun) -> None:
    """A compensation in flight may have come before the effect: it is given up, and begins once more."""
    begins = {**fresh_life(undo), **due_now(change.grace)}
    move_step(change, undo, StepState.READY, EventType.STEP_RESTORED, **begins)
