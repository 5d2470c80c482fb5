"""What happens next: pure functions from what ended and what stands around it.

Nothing here reads a row or writes one, so every rule can be tried in microseconds.
"""

from sagas.engine.decisions.outcomes import (
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
from sagas.engine.decisions.plans import Place, replan, undo_order


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
    "replan",
    "retry_delay",
    "undo_order",
    "when_spent",
]
