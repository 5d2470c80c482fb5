"""Every type of event. ``docs/reference/events.md`` is written from here."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class EventType(TextChoices):
    """What a :class:`~sagas.models.SagaEvent` tells of."""

    STARTED = "started", _("Saga started")
    """The run and its steps were planned into rows."""

    TURNED_BACK = "turned_back", _("Turned back")
    """From here on nothing new starts, and what ran is undone."""

    REWINDING = "rewinding", _("Rewinding")
    """Some of its steps are undone, to go forward again from there."""

    REWOUND = "rewound", _("Goes forward again")
    """What a rewind, or a late word of a life before one, had undone is undone."""

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

    PUBLISHED = "published", _("Event published")
    """An event of a trace was recorded; the note says what reacts to it."""

    STEP_READY = "step_ready", _("Step ready")
    """All its predecessors are done, and a message is sent when it is due."""

    STEP_CLAIMED = "step_claimed", _("Attempt started")
    """A worker took it, by a message or in place: an attempt begins."""

    STEP_WAITING = "step_waiting", _("Waiting for an outside party")
    """Its handler raised ``Wait``; the note says for whom it waits."""

    STEP_ANSWERED = "step_answered", _("Answered while it ran")
    """The outside party answered before the attempt ended; the answer is kept until then."""

    STEP_APPROVED = "step_approved", _("Approved by a person")
    """Somebody who may approves it; with ``four_eyes`` it waits for another one."""

    STEP_REMINDED = "step_reminded", _("Still to be approved")
    """Nobody has decided for ``remind_after``; the note says what is to be approved."""

    STEP_SUCCEEDED = "step_succeeded", _("Step succeeded")
    """It happened; a note "late" says that its attempt had been given up."""

    STEP_FAILED = "step_failed", _("Step failed")
    """It definitely did not happen, and is not tried again."""

    STEP_RETRYING = "step_retrying", _("Attempt failed, retrying")
    """The attempt did not succeed; the step is ready once more, later."""

    STEP_UNKNOWN = "step_unknown", _("Outcome unknown")
    """It may have happened, and nobody is left to ask."""

    STEP_RECONCILING = "step_reconciling", _("Asking whether it happened")
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

    UNKNOWN_HANDLER = "unknown_handler", _("No handler found")
    """No worker so far has code that can run it; it waits."""
