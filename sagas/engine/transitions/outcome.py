"""An attempt ends: with an outcome, or so that another one is made."""

from datetime import timedelta
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now

from sagas.engine.transitions import postgresql, run_time
from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import due_now
from sagas.engine.transitions.moves import ANY, move_step
from sagas.engine.transitions.values import Claimant, Succession
from sagas.models import StepRun
from sagas.states import EventType, StepState


UNANSWERED: Final = Q(answer__isnull=True)
"""No outside party has answered meanwhile: that knows more than an attempt which did not succeed."""


def end_attempt(
    change: RunChange,
    step: StepRun,
    to: StepState,
    event: EventType,
    *,
    note: str = "",
    actor: str = "",
    guard: Q = ANY,
    **columns: Any,
) -> bool:
    """``running`` or ``waiting`` → an outcome or ``unknown``, if ``step.fence`` is still the row's.

    ``guard`` is what must hold of the row besides.
    """
    mine = guard & Q(fence=step.fence)
    columns = {"ended_at": Now(), **columns}
    return move_step(change, step, to, event, note=note, actor=actor, guard=mine, **columns)


def put_back(
    change: RunChange,
    step: StepRun,
    event: EventType,
    *,
    delay: float,
    note: str = "",
    guard: Q = ANY,
    **columns: Any,
) -> bool:
    """Back to ``ready``, due in ``delay`` seconds: the next attempt is a row, not a timer.

    ``guard`` is what must hold of the row besides, as for :func:`end_attempt`.
    """
    mine = guard & Q(fence=step.fence)
    due = due_now(timedelta(), timedelta(seconds=delay))
    return move_step(change, step, StepState.READY, event, note=note, guard=mine, **due, **columns)


def expires_within(change: RunChange, step: StepRun, delay: float) -> bool:
    """Whether the step's own time is over ``delay`` seconds from now."""
    if step.timeout is None and not step.detached:
        return False
    end = run_time.later(change.run, timedelta(seconds=delay))
    return StepRun.objects.filter(pk=step.pk, expires_at__lte=end).exists()


def record_late_outcome(change: RunChange, step: StepRun, note: str, actor: str = "") -> None:
    """Record an outcome whose attempt was given up."""
    change.event_log.record_step(EventType.STEP_LATE, step, "", "", note, actor)


def succeed(step: StepRun, output: object, claimant: Claimant | None) -> Succession | None:
    """Record a success in one statement, if the database can and no fan-out follows.

    One that only a step for which nobody waits follows is a fan-out too: that step and the end.

    None: nothing was written, and :func:`sagas.engine.transitions.change` is the way.
    """
    fans_out = len(step.successors) > 1 or step.plan.last
    if step.detached or fans_out or not postgresql.in_use():
        return None
    return postgresql.succeed(step, output, claimant)
