"""Waits for outside parties under the run's lock: begun, answered early, given up."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.db.models.functions import Coalesce, Least, Now

from sagas.engine.decisions import Waiting
from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.insert import due_now
from sagas.engine.transitions.moves import ANY, move_step
from sagas.engine.transitions.outcome import UNANSWERED, end_attempt
from sagas.engine.transitions.run_time import later
from sagas.models import StepRun
from sagas.models.moments import aware
from sagas.states import EventType, StepState, WaitKind


def begin_wait(change: RunChange, step: StepRun, waiting: Waiting) -> bool:
    """``running`` → ``waiting``; False when the attempt was given up, or the answer is there.

    The wait ends after its timeout or with the step's own time. What no deadline ends, a compensation or
    a step for which nobody waits, does so at most as long as its saga had to go forward, so that a
    human hears of it; but not for a child, which has a time of its own.
    """
    limit, guard = waiting.timeout, UNANSWERED
    columns: dict[str, Any] = {}
    if waiting.leaves_doubt:
        columns["in_doubt"] = True
    if not waiting.yields_to_answer:
        guard, columns["answer"] = ANY, None
    outlasts = step.is_backward or step.detached
    if limit is None and outlasts and waiting.kind != WaitKind.CHILD:
        limit = change.run.deadline - change.run.created_at
    until: Any = F("expires_at")
    if limit is not None:
        # SQLite's least of anything and NULL is NULL.
        own = later(change.run, limit)
        until = Coalesce(Least(own, F("expires_at")), own)
    began = end_attempt(
        change,
        step,
        StepState.WAITING,
        EventType.STEP_WAITING,
        note=waiting.note,
        guard=guard,
        wait=waiting.as_wait(),
        lease_until=until,
        ended_at=None,
        error_code="",
        error="",
        **columns,
    )
    if began and waiting.remind_after is not None:
        _remind_first(change, step, waiting.remind_after)
    return began


def _remind_first(change: RunChange, step: StepRun, after: timedelta) -> None:
    """Let the lease end at the reminder, if that comes before the end of the wait.

    What is left of the wait then is kept as a length, which a pause does not change.
    """
    waiting = StepRun.objects.filter(pk=step.pk, state=StepState.WAITING)
    ends = waiting.values_list("wait", "lease_until").annotate(remind=later(change.run, after))
    for wait, end, remind in ends:
        if end is None or aware(remind) < aware(end):
            left = None if end is None else (aware(end) - aware(remind)).total_seconds()
            waiting.update(wait={**wait, "left_after_reminder": left}, lease_until=remind)


def remind(change: RunChange, step: StepRun) -> None:
    """Tell once that a step still waits, and let it wait for the rest of its time.

    ``step`` is the row, locked by this transaction.
    """
    wait = {name: value for name, value in step.wait_terms.items() if name != "left_after_reminder"}
    waiting = StepRun.objects.filter(pk=step.pk, state=StepState.WAITING)
    waiting.update(wait=wait, lease_until=step.wait_ends_at, updated_at=Now())
    change.event_log.record_step(EventType.STEP_REMINDED, step, "", "", wait["note"])


def keep_approval(
    change: RunChange, step: StepRun, approval: dict[str, Any], *, note: str, actor: str
) -> None:
    """Keep that somebody approved a waiting step; the caller holds the run's lock."""
    wait = {**step.wait_terms, "approvals": [*step.wait_terms["approvals"], approval]}
    StepRun.objects.filter(pk=step.pk, state=StepState.WAITING).update(wait=wait, updated_at=Now())
    step.wait = wait
    change.event_log.record_step(EventType.STEP_APPROVED, step, "", "", note, actor)


def wait_on(step: StepRun) -> None:
    """The time of a wait is over, and what it is for goes on to its end."""
    waiting = StepRun.objects.filter(pk=step.pk, state=StepState.WAITING, fence=step.fence)
    waiting.update(lease_until=None, updated_at=Now())


def at_large(step: StepRun) -> dict[str, Any]:
    """Return the column that says that this attempt is given up, while it or whom it asked may still act."""
    return {"at_large": [*(step.at_large or []), step.fence]}


def keep_answer(
    change: RunChange, step: StepRun, answer: dict[str, Any], *, note: str, actor: str
) -> bool:
    """Keep what an outside party says of a step that still runs, until its attempt ends.

    False when the attempt has just ended, or somebody has answered before.
    """
    mine = StepRun.objects.filter(
        pk=step.pk, state=StepState.RUNNING, fence=step.fence, answer__isnull=True
    )
    won = mine.update(answer=answer, updated_at=Now())
    if won:
        change.event_log.record_step(EventType.STEP_ANSWERED, step, "", "", note, actor)
    return bool(won)


def end_waits(change: RunChange, waiting: Iterable[StepRun], *, reconcile: bool = True) -> None:
    """Wait no longer: whether a step happened is asked, if it can be, or unknown."""
    for step in waiting:
        # Whoever ends a wait holds the run's lock, so nobody is faster.
        left: dict[str, Any] = Waiting().columns()
        if step.is_approval and not step.in_doubt:
            # Nobody has approved, and no approval is taken from now on.
            left["ended_at"] = Now()
            move_step(change, step, StepState.FAILED, EventType.STEP_FAILED, **left)
            continue
        left |= at_large(step)
        if reconcile and step.plan.reconcile:
            left |= {"reconcile_attempts": 0, **due_now(change.grace)}
            move_step(change, step, StepState.READY, EventType.STEP_RECONCILING, **left)
            change.made_ready.append(step)
        else:
            left["ended_at"] = Now()
            move_step(change, step, StepState.UNKNOWN, EventType.STEP_UNKNOWN, **left)
