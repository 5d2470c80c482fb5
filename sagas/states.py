"""Every state of a saga and of a step, and every arrow between them.

``docs/lifecycle.md`` draws the same arrows; a test compares the two.
"""

from typing import Any

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class SagaState(TextChoices):
    """Where a saga stands."""

    RUNNING = "running", _("Running")
    """Going forward."""

    COMPENSATING = "compensating", _("Compensating")
    """Turning back: first the steps in flight end, then the undo chain runs."""

    COMPLETED = "completed", _("Completed")
    """All critical steps succeeded."""

    COMPENSATED = "compensated", _("Compensated")
    """Rolled back after a failure: everything that ran or may have run was undone."""

    CANCELLED = "cancelled", _("Cancelled")
    """Rolled back because someone asked."""

    DEAD_LETTER = "dead_letter", _("Dead letter")
    """Cannot go on by itself; a human decides."""

    RESOLVED = "resolved", _("Resolved")
    """Settled by hand, with a note."""


class StepState(TextChoices):
    """Where a step stands. A compensation is a step of direction ``backward``."""

    PENDING = "pending", _("Pending")
    """Its predecessors are not done."""

    READY = "ready", _("Ready")
    """Due at ``due_at``, also between retries; its message is sent or will be."""

    RUNNING = "running", _("Running")
    """Claimed by a worker: the fence is raised and a lease is set."""

    WAITING = "waiting", _("Waiting")
    """An outside party or a child saga completes it."""

    SUCCEEDED = "succeeded", _("Succeeded")
    """It happened, and its result is known."""

    FAILED = "failed", _("Failed")
    """It definitely did not happen."""

    UNKNOWN = "unknown", _("Unknown")
    """It may have happened: lost worker, time limit, or a network error after the last retry."""

    SKIPPED = "skipped", _("Skipped")
    """Its condition said no; it is never compensated."""

    CANCELLED = "cancelled", _("Cancelled")
    """Never started, because the saga turned back, or completed without it at its deadline."""

    COMPENSATED = "compensated", _("Compensated")
    """Succeeded or unknown, and since undone."""


class Direction(TextChoices):
    """Which way a step leads."""

    FORWARD = "forward", _("Forward")
    BACKWARD = "backward", _("Backward")


SAGA_ARROWS: dict[SagaState, frozenset[SagaState]] = {
    SagaState.RUNNING: frozenset(
        {SagaState.COMPLETED, SagaState.COMPENSATING, SagaState.DEAD_LETTER}
    ),
    SagaState.COMPENSATING: frozenset(
        {SagaState.COMPENSATED, SagaState.CANCELLED, SagaState.DEAD_LETTER}
    ),
    SagaState.COMPLETED: frozenset({SagaState.COMPENSATING}),
    # Only when a step that had been given up reports a late success, which is then undone too.
    SagaState.COMPENSATED: frozenset({SagaState.COMPENSATING}),
    SagaState.CANCELLED: frozenset({SagaState.COMPENSATING}),
    SagaState.DEAD_LETTER: frozenset(
        {SagaState.RUNNING, SagaState.COMPENSATING, SagaState.RESOLVED}
    ),
    SagaState.RESOLVED: frozenset(),
}

STEP_ARROWS: dict[StepState, frozenset[StepState]] = {
    # Straight to running when the worker that ended its last predecessor goes on in place.
    StepState.PENDING: frozenset({StepState.READY, StepState.RUNNING, StepState.CANCELLED}),
    StepState.READY: frozenset(
        {
            # Only in an undo chain that is made anew, behind one that goes first.
            StepState.PENDING,
            StepState.RUNNING,
            StepState.CANCELLED,
            # Of a best-effort step between attempts, when the saga completes without it.
            StepState.FAILED,
            StepState.UNKNOWN,
            StepState.SUCCEEDED,
            StepState.SKIPPED,
        }
    ),
    StepState.RUNNING: frozenset(
        {
            StepState.READY,
            StepState.WAITING,
            StepState.SUCCEEDED,
            StepState.FAILED,
            StepState.UNKNOWN,
            StepState.SKIPPED,
            StepState.PENDING,
        }
    ),
    StepState.WAITING: frozenset(
        {
            StepState.READY,
            StepState.PENDING,
            StepState.SUCCEEDED,
            StepState.FAILED,
            StepState.UNKNOWN,
            StepState.SKIPPED,
        }
    ),
    # A compensation is ready once more when its step reports a late success.
    StepState.SUCCEEDED: frozenset({StepState.COMPENSATED, StepState.READY, StepState.PENDING}),
    # Retried or settled by hand. And whatever was said of a step, a late word of an attempt that had
    # been given up counts: it happened, or it may have.
    StepState.FAILED: frozenset(
        {
            StepState.READY,
            StepState.PENDING,
            StepState.SUCCEEDED,
            StepState.UNKNOWN,
            StepState.SKIPPED,
        }
    ),
    StepState.UNKNOWN: frozenset(
        {
            StepState.READY,
            StepState.PENDING,
            StepState.SUCCEEDED,
            StepState.SKIPPED,
            StepState.COMPENSATED,
        }
    ),
    StepState.SKIPPED: frozenset({StepState.SUCCEEDED, StepState.UNKNOWN}),
    StepState.CANCELLED: frozenset(
        {
            StepState.PENDING,
            StepState.READY,
            StepState.SUCCEEDED,
            StepState.UNKNOWN,
            StepState.SKIPPED,
        }
    ),
    StepState.COMPENSATED: frozenset({StepState.SUCCEEDED, StepState.UNKNOWN}),
}

ACTIVE_SAGAS = frozenset({SagaState.RUNNING, SagaState.COMPENSATING})
FINAL_SAGAS = frozenset(
    {SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.CANCELLED, SagaState.RESOLVED}
)

UNSTARTED_STEPS = frozenset({StepState.PENDING, StepState.READY})
IN_FLIGHT_STEPS = frozenset({StepState.RUNNING, StepState.WAITING})
DONE = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})
MAY_HAVE_HAPPENED = frozenset({StepState.SUCCEEDED, StepState.UNKNOWN})


class EventType(TextChoices):
    """What a :class:`~sagas.models.SagaEvent` tells of."""

    STARTED = "started", _("Saga started")
    """The run and its steps were planned into rows."""

    TURNED_BACK = "turned_back", _("Turned back")
    """From here on nothing new starts, and what ran is undone."""

    COMPLETED = "completed", _("Saga completed")
    """Every critical step succeeded."""

    COMPENSATED = "compensated", _("Saga compensated")
    """All that is to be undone was undone, after a failure."""

    CANCELLED = "cancelled", _("Saga cancelled")
    """All that is to be undone was undone, because someone asked."""

    DEAD_LETTERED = "dead_lettered", _("Dead lettered")
    """It cannot go on by itself; the note says why."""

    RETRIED = "retried", _("Retried")
    """The dead letter goes on where it stopped, by hand or by ``auto_retry``."""

    REOPENED = "reopened", _("Turned back once more")
    """It was rolled back, and a late word tells of more to undo."""

    POISONED = "poisoned", _("Automatic retries spent")
    """``auto_retry`` will not retry the dead letter any more."""

    RESOLVED = "resolved", _("Resolved by hand")
    """An operator closed the dead letter as it stands."""

    PAUSED = "paused", _("Paused by hand")
    """No step is begun or sent until it is resumed."""

    RESUMED = "resumed", _("Resumed by hand")
    """The pause is over; it counted neither for the run nor for its steps."""

    TAGGED = "tagged", _("Tags changed")
    """A handler added tags; the note has them."""

    PIVOT_PASSED = "pivot_passed", _("Point of no return")
    """The pivot was skipped by hand, and counts as passed."""

    STALLED = "stalled", _("Stalled")
    """Nothing of it was ready, running or waiting; the sweep went on with it."""

    STEP_READY = "step_ready", _("Step ready")
    """All its predecessors are done, and a message is sent when it is due."""

    STEP_CLAIMED = "step_claimed", _("Attempt started")
    """A worker took it, by a message or in place: an attempt begins."""

    STEP_WAITING = "step_waiting", _("Waiting for an outside party")
    """Its handler raised ``Wait``; the note says for whom it waits."""

    STEP_ANSWERED = "step_answered", _("Answered while it ran")
    """The outside party answered before the attempt ended; the answer is kept until then."""

    STEP_SUCCEEDED = "step_succeeded", _("Step succeeded")
    """It happened; a note "late" says that its attempt had been given up."""

    STEP_FAILED = "step_failed", _("Step failed")
    """It definitely did not happen, and is not tried again."""

    STEP_RETRYING = "step_retrying", _("Attempt failed, retrying")
    """The attempt did not succeed; the step is ready once more, later."""

    STEP_UNKNOWN = "step_unknown", _("Outcome unknown")
    """It may have happened, and nobody is left to ask."""

    STEP_ASKING = "step_asking", _("Asking whether it happened")
    """The next attempt asks ``reconcile`` instead of acting."""

    STEP_SKIPPED = "step_skipped", _("Step skipped")
    """Its condition said no; or nothing was left for a compensation to undo."""

    STEP_CANCELLED = "step_cancelled", _("Step never started")
    """It never began, and will not."""

    STEP_RESTORED = "step_restored", _("Step back in the plan")
    """It has its place in a plan that was made anew."""

    STEP_COMPENSATED = "step_compensated", _("Step undone")
    """Its compensation succeeded."""

    STEP_RETRIED = "step_retried", _("Step retried by hand")
    """An operator tries it again, though its run went on without it."""

    STEP_SETTLED = "step_settled", _("Step settled by hand")
    """An operator said how it ended."""

    STEP_LATE = "step_late", _("Late outcome")
    """An attempt that had been given up said what came of it; the note has its words."""

    UNKNOWN_HANDLER = "handler_unknown", _("No handler found")
    """No worker so far has code that can run it; it waits."""


def require_arrow(arrows: Any, came_from: Any, to: Any) -> None:
    """Refuse, as a bug of ours, a change that no arrow in this module allows."""
    if to not in arrows[came_from]:
        message = f"no arrow leads from {came_from} to {to}"
        raise AssertionError(message)
