"""Turning back under the run's lock: shut what has not started, insert what undoes, say what is undone."""

from collections.abc import Iterable, Sequence
from typing import Final

from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import due_now, make_ready
from sagas.engine.transitions.moves import move_step, move_steps
from sagas.engine.transitions.plan import collect_ready
from sagas.engine.transitions.run import restart_count
from sagas.engine.transitions.waiting import end_waits
from sagas.models import StepRun
from sagas.models.steps import StepRunQuerySet
from sagas.states import IDLE_STEPS, MAY_HAVE_HAPPENED, UNSTARTED_STEPS, EventType, StepState


RELEASED: Final = "released"
"""``on_unknown`` of a step that was to hold, until a human decided that it is undone."""


def cancel_unstarted(change: RunChange) -> list[StepRun]:
    """Let nothing new start: unstarted steps are cancelled, those between attempts unknown.

    Nor is anybody waited for, but for children: the steps that wait for one are returned. Claims do not take the run's lock; the lock on the step rows is what
    they meet here.
    """
    forward = _turned(change)
    shut = forward.filter(state__in=IDLE_STEPS)
    rows = list(
        shut.select_for_update().only(
            *(
                "state",
                "attempt",
                "in_doubt",
                "reconcile_attempts",
                "options",
                "run_id",
                "name",
                "direction",
            ),
            *("fence", "at_large", "wait"),
        )
    )
    waiting = [row for row in rows if row.state == StepState.WAITING]
    end_waits(change, [row for row in waiting if not row.plan.child])
    unstarted = [row for row in rows if row.state != StepState.WAITING]
    asked = [row for row in unstarted if _can_reconcile(row)]
    _reconcile(change, [row for row in asked if not row.is_reconciling])
    rest = [row for row in unstarted if row not in asked]
    never = [row for row in rest if not row.in_doubt]
    move_steps(change, never, StepState.CANCELLED, EventType.STEP_CANCELLED, ended_at=None)
    _doubt(change, [row for row in rest if row.in_doubt])
    return [row for row in waiting if row.plan.child]


def _can_reconcile(step: StepRun) -> bool:
    return step.state == StepState.READY and step.in_doubt and step.plan.reconcile


def _reconcile(change: RunChange, steps: Sequence[StepRun]) -> None:
    """Steps between attempts whose outside system can be asked are asked before anything else."""
    begins = {"reconcile_attempts": 0, **due_now(change.grace)}
    move_steps(change, steps, StepState.READY, EventType.STEP_RECONCILING, **begins)
    change.made_ready += steps


def _doubt(change: RunChange, steps: Sequence[StepRun]) -> None:
    move_steps(change, steps, StepState.UNKNOWN, EventType.STEP_UNKNOWN, ended_at=Now())


def doubt_skipped(change: RunChange) -> bool:
    """Steps that were skipped, and then said to have perhaps happened, are unknown; whether there were any."""
    turned = _turned(change)
    rows = list(turned.filter(state=StepState.SKIPPED, in_doubt=True))
    _doubt(change, rows)
    return bool(rows)


def has_in_flight(change: RunChange) -> bool:
    """Whether a forward step that is to be undone is running or waiting, or being asked about."""
    return _turned(change).in_flight().exists()


def _turned(change: RunChange) -> StepRunQuerySet:
    """Return the forward steps that the run undoes: all, or of a rewind its own."""
    forward = StepRun.objects.forward().filter(run_id=change.run.pk)
    return forward.filter(rewind__isnull=False) if change.run.is_rewinding else forward


def insert_undo_chain(change: RunChange, chain: Sequence[StepRun]) -> None:
    """Insert the compensations, each the successor of the one before; the first is ready."""
    make_ready(chain[0], change.grace)
    StepRun.objects.bulk_create(chain)
    restart_count(change, 1)
    collect_ready(change, chain[:1])


def insert_pending(step: StepRun) -> StepRun:
    """Insert a compensation that has no place in a chain yet."""
    StepRun.objects.bulk_create([step])
    return step


def leave_out(change: RunChange, undo: StepRun) -> None:
    """A compensation that did not succeed is needed no more: nothing of its step is to be undone."""
    to, event = StepState.SKIPPED, EventType.STEP_SKIPPED
    if undo.state in UNSTARTED_STEPS:
        to, event = StepState.CANCELLED, EventType.STEP_CANCELLED
    move_step(change, undo, to, event, note="nothing is left to undo")


def mark_undone(change: RunChange, undo: StepRun) -> None:
    """The forward step of compensation ``undo``: succeeded or unknown → ``compensated``.

    The chain may have been made anew while the attempt ran, so ``undo`` learns what follows it now.
    """
    both = StepRun.objects.filter(run_id=undo.run_id, name=undo.name)
    for row in both.only("state", "run_id", "attempt", "name", "direction", "successors"):
        if row.is_backward:
            undo.successors = row.successors
        elif row.state in MAY_HAVE_HAPPENED:
            move_step(change, row, StepState.COMPENSATED, EventType.STEP_COMPENSATED)


def release_holds(held: Iterable[StepRun]) -> None:
    """A human decided that these steps, which hold because they are unknown, are undone."""
    for step in held:
        options = {**step.options, "on_unknown": RELEASED}
        StepRun.objects.filter(pk=step.pk).update(options=options, updated_at=Now())
