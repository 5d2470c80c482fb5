"""What happens next: pure functions from what ended and what stands around it.

Nothing here reads a row or writes one, so every rule can be tried in microseconds.
"""

from sagas.decisions.outcomes import (
    MAX_ASKS,
    Asking,
    Failed,
    Next,
    NotHappened,
    Outcome,
    Skipped,
    Succeeded,
    Verdict,
    Waiting,
    after_step,
    fingerprint,
    in_the_end,
    judge,
    retry_delay,
    when_spent,
)
from sagas.decisions.plans import Place, may_go_on, replan, undo_order


__all__ = [
    "MAX_ASKS",
    "Asking",
    "Failed",
    "Next",
    "NotHappened",
    "Outcome",
    "Place",
    "Skipped",
    "Succeeded",
    "Verdict",
    "Waiting",
    "after_step",
    "fingerprint",
    "in_the_end",
    "judge",
    "may_go_on",
    "replan",
    "retry_delay",
    "undo_order",
    "when_spent",
]
