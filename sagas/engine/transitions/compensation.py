"""Turning back under the run's lock: shut what has not started, insert what undoes."""

from collections.abc import Sequence

from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import due_now, make_ready
from sagas.engine.transitions.waiting import end_waits
from sagas.models import StepRun
from sagas.states import EventType, StepState


def cancel_unstarted(change: RunChange) -> None:
    """Let nothing new start: unstarted steps are cancelled, those between attempts unknown.

    Nor is anybody waited for. Claims do not take the run's lock; the lock on the step rows is what
    they meet here.
    """
    forward = StepRun.objects.forward().filter(run_id=change.run.pk)
    shut = forward.filter(state__in=(StepState.PENDING, StepState.READY, StepState.WAITING))
    rows = list(
        shut.select_for_update().only(
            *("state", "attempt", "in_doubt", "asking", "options", "run_id", "name", "direction"),
            *("fence", "at_large"),
        )
    )
    waiting = [row for row in rows if row.state == StepState.WAITING]
    end_waits(change, waiting)
    rows = [row for row in rows if row not in waiting]
    ready = [row for row in rows if row.state == StepState.READY]
    in_doubt = [row for row in ready if row.in_doubt and row.options.get("reconcile")]
    _ask_about(change, in_doubt)
    rows = [row for row in rows if row not in in_doubt]
    for came_from in (StepState.PENDING, StepState.READY):
        for to, doubt in ((StepState.CANCELLED, False), (StepState.UNKNOWN, True)):
            moved = [r for r in rows if r.state == came_from and r.in_doubt is doubt]
            _shut(change, moved, came_from, to)


def doubt_skipped(change: RunChange) -> bool:
    """Steps that were skipped, and then said to have perhaps happened, are unknown; whether there were any."""
    skipped = StepRun.objects.forward().filter(run_id=change.run.pk, state=StepState.SKIPPED)
    rows = list(skipped.filter(in_doubt=True))
    _shut(change, rows, StepState.SKIPPED, StepState.UNKNOWN)
    return bool(rows)


def _ask_about(change: RunChange, steps: Sequence[StepRun]) -> None:
    """Steps between attempts whose outside system can be asked are asked before anything else."""
    new = [step for step in steps if not step.asking]
    StepRun.objects.filter(pk__in=[step.pk for step in new], state=StepState.READY).update(
        asking=True, updated_at=Now(), **due_now(change.grace)
    )
    for step in new:
        change.event_log.record_step(EventType.STEP_ASKING, step, StepState.READY, StepState.READY)
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
        change.event_log.record_step(type_, step, came_from, to)


def insert_undo_chain(change: RunChange, chain: Sequence[StepRun]) -> None:
    """Insert the compensations, each the successor of the one before; the first is ready."""
    make_ready(chain[0], change.grace)
    StepRun.objects.bulk_create(chain)
    change.restart_count(1)
    change.collect_ready(chain[:1], StepState.PENDING)


def insert_pending(step: StepRun) -> StepRun:
    """Insert a compensation that has no place in a chain yet."""
    StepRun.objects.bulk_create([step])
    return step


def leave_out(change: RunChange, undo: StepRun) -> None:
    """A compensation that did not succeed is needed no more: nothing of its step is to be undone."""
    came_from = StepState(undo.state)
    begun = came_from not in {StepState.PENDING, StepState.READY}
    to = StepState.SKIPPED if begun else StepState.CANCELLED
    type_ = EventType.STEP_SKIPPED if begun else EventType.STEP_CANCELLED
    if StepRun.objects.filter(pk=undo.pk, state=came_from).update(state=to, updated_at=Now()):
        change.event_log.record_step(type_, undo, came_from, to, "nothing is left to undo")


def release_holds(change: RunChange) -> None:
    """A human decided that the steps which hold because they are unknown are undone."""
    unknown = StepRun.objects.forward().filter(run_id=change.run.pk, state=StepState.UNKNOWN)
    for step in unknown.filter(options__on_unknown="hold"):
        options = {name: value for name, value in step.options.items() if name != "on_unknown"}
        StepRun.objects.filter(pk=step.pk).update(options=options, updated_at=Now())
