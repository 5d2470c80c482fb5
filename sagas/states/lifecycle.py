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
        {
            SagaState.COMPENSATED,
            SagaState.CANCELLED,
            SagaState.DEAD_LETTER,
            # Of a rewind: what it undoes is undone; or it is cancelled, and all is to be undone.
            SagaState.RUNNING,
            SagaState.COMPENSATING,
        }
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
    # Unknown when it has its place again in a saga that then turns back, and was in doubt before.
    StepState.PENDING: frozenset(
        {StepState.READY, StepState.RUNNING, StepState.CANCELLED, StepState.UNKNOWN}
    ),
    StepState.READY: frozenset(
        {
            # The attempt to come asks whether it happened, instead of acting.
            StepState.READY,
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


def require_arrow(arrows: Any, came_from: Any, to: Any) -> None:
    """Refuse, as a bug of ours, a change that no arrow in this module allows."""
    if to not in arrows[came_from]:
        message = f"no arrow leads from {came_from} to {to}"
        raise AssertionError(message)
