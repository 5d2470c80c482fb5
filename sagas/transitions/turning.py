"""Turning back under the run's lock: shut what has not started, insert what undoes, once or again."""

from collections.abc import Sequence
from typing import Any

from django.db.models.functions import Now

from sagas.models import StepRun
from sagas.states import STEP_ARROWS, EventType, StepState
from sagas.transitions.birth import due_now, make_ready
from sagas.transitions.change import RunChange, require_arrow
from sagas.transitions.waiting import end_waits


def shut_unstarted(change: RunChange) -> None:
    """Let nothing new start: unstarted steps are cancelled, those between attempts unknown.

    Nor is anybody waited for. Claims do not take the run's lock; the lock on the step rows is what
    they meet here.
    """
    forward = StepRun.objects.forward().filter(run_id=change.run.pk)
    shut = forward.filter(state__in=(StepState.PENDING, StepState.READY, StepState.WAITING))
    rows = list(
        shut.select_for_update().only(
            "state", "attempt", "doubtful", "asking", "options", "run_id", "name", "direction"
        )
    )
    waiting = [row for row in rows if row.state == StepState.WAITING]
    end_waits(change, waiting)
    rows = [row for row in rows if row not in waiting]
    in_doubt = [row for row in rows if row.doubtful and row.options.get("reconcile")]
    _ask_about(change, in_doubt)
    rows = [row for row in rows if row not in in_doubt]
    for came_from in (StepState.PENDING, StepState.READY):
        for to, doubtful in ((StepState.CANCELLED, False), (StepState.UNKNOWN, True)):
            moved = [r for r in rows if r.state == came_from and r.doubtful is doubtful]
            _shut(change, moved, came_from, to)


def _ask_about(change: RunChange, steps: Sequence[StepRun]) -> None:
    """Steps between attempts whose outside system can be asked are asked before anything else."""
    new = [step for step in steps if not step.asking]
    StepRun.objects.filter(pk__in=[step.pk for step in new], state=StepState.READY).update(
        asking=True, updated_at=Now(), **due_now(change.grace)
    )
    for step in new:
        change.journal.tell_step(EventType.STEP_ASKING, step, StepState.READY, StepState.READY)
    change.made_ready += new


def _shut(change: RunChange, steps: Sequence[StepRun], came_from: StepState, to: StepState) -> None:
    if not steps:
        return
    type_ = EventType.STEP_UNKNOWN if to == StepState.UNKNOWN else EventType.STEP_CANCELLED
    StepRun.objects.filter(pk__in=[s.pk for s in steps], state=came_from).update(
        state=to,
        updated_at=Now(),
        ended_at=Now() if to == StepState.UNKNOWN else None,
    )
    for step in steps:
        change.journal.tell_step(type_, step, came_from, to)


def insert_undo_chain(change: RunChange, steps: Sequence[StepRun]) -> None:
    """Insert the compensations, each the successor of the one before; the first is ready."""
    change.restart_count(0)
    insert_undo(change, *steps)


def insert_undo(change: RunChange, *steps: StepRun) -> None:
    """Insert compensations beside those there are; they end with one last step."""
    for step in steps:
        if step.blockers == 0:
            make_ready(step, change.grace)
    StepRun.objects.bulk_create(steps)
    change.restart_count(change.run.remaining + 1)
    change.collect_ready([step for step in steps if step.blockers == 0], StepState.PENDING)


def insert_pending(step: StepRun) -> StepRun:
    """Insert a compensation that has no place in a chain yet."""
    StepRun.objects.bulk_create([step])
    return step


def succeed_late(change: RunChange, step: StepRun, output: object) -> bool:
    """A step that was given up did happen: its end → ``succeeded``, with the result."""
    came_from = StepState(step.state)
    require_arrow(STEP_ARROWS, came_from, StepState.SUCCEEDED)
    won = StepRun.objects.filter(pk=step.pk, state=came_from).update(
        state=StepState.SUCCEEDED,
        output=output,
        doubtful=False,
        asking=False,
        lease_until=None,
        error_code="",
        error="",
        ended_at=Now(),
        updated_at=Now(),
    )
    if won:
        change.journal.tell_step(
            EventType.STEP_SUCCEEDED, step, came_from, StepState.SUCCEEDED, "late"
        )
    return bool(won)


def distrust_undo(step: StepRun) -> None:
    """A success of ``step`` comes late: what was said of undoing it before no longer counts.

    An outside party that undoes it answers a request that may have come before the effect; without
    doubt in the row, that answer does not end the attempt which is still to be made.
    """
    undo = StepRun.objects.backward().filter(run_id=step.run_id, name=step.name)
    undo.update(doubtful=False, updated_at=Now())


def undo_again(change: RunChange, backward: StepRun) -> None:
    """A compensation came before the effect that it undoes: it is ready once more, by itself.

    One that runs right now is given up by this, so that the one to come sees the result.
    """
    came_from = StepState(backward.state)
    require_arrow(STEP_ARROWS, came_from, StepState.READY)
    was_done = came_from == StepState.SUCCEEDED
    columns: dict[str, Any] = {"successors": []} if was_done else {}
    StepRun.objects.filter(pk=backward.pk, state=came_from).update(
        state=StepState.READY,
        attempt=0,
        answer=None,
        lease_until=None,
        ended_at=None,
        updated_at=Now(),
        **due_now(change.grace),
        **columns,
    )
    if was_done:
        change.restart_count(change.run.remaining + 1)
    change.collect_ready([StepRun.objects.get(pk=backward.pk)], came_from)
