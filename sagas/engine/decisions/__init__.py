"""What happens next: pure functions from what ended and what stands around it.

Nothing here reads a row or writes one, so every rule can be tried in microseconds.
"""

from sagas.engine.decisions.outcomes import (
    MAX_RECONCILE_ATTEMPTS,
    DidNotHappen,
    Failed,
    Next,
    Outcome,
    Reconciliation,
    Skipped,
    Succeeded,
    Verdict,
    Waiting,
    after_step,
    fingerprint,
    judge,
    retries_exhausted,
    retry_delay,
    with_attempt_count,
)
from sagas.engine.decisions.plans import Place, replan, undo_order


__all__ = [
    "MAX_RECONCILE_ATTEMPTS",
    "DidNotHappen",
    "Failed",
    "Next",
    "Outcome",
    "Place",
    "Reconciliation",
    "Skipped",
    "Succeeded",
    "Verdict",
    "Waiting",
    "after_step",
    "fingerprint",
    "judge",
    "replan",
    "retries_exhausted",
    "retry_delay",
    "undo_order",
    "with_attempt_count",
]
