"""What happens next: pure functions from what ended and what stands around it.

Nothing here reads a row or writes one, so every rule can be tried in microseconds.
"""

from sagas.engine.decisions.approvals import WaitingForApproval
from sagas.engine.decisions.outcomes import (
    DidNotHappen,
    Failed,
    Outcome,
    Reported,
    Skipped,
    Succeeded,
    Waiting,
    WaitingForChild,
    WaitingForTask,
    fingerprint,
    from_answer,
    with_attempt_count,
)
from sagas.engine.decisions.pivot import may_be_past_pivot, may_have_passed
from sagas.engine.decisions.plans import Next, Place, after_step, dependents, replan, undo_order
from sagas.engine.decisions.verdicts import (
    MAX_RECONCILE_ATTEMPTS,
    Reconciliation,
    Verdict,
    judge,
    retries_exhausted,
    retry_delay,
)


__all__ = [
    "MAX_RECONCILE_ATTEMPTS",
    "DidNotHappen",
    "Failed",
    "Next",
    "Outcome",
    "Place",
    "Reconciliation",
    "Reported",
    "Skipped",
    "Succeeded",
    "Verdict",
    "Waiting",
    "WaitingForApproval",
    "WaitingForChild",
    "WaitingForTask",
    "after_step",
    "dependents",
    "fingerprint",
    "from_answer",
    "judge",
    "may_be_past_pivot",
    "may_have_passed",
    "replan",
    "retries_exhausted",
    "retry_delay",
    "undo_order",
    "with_attempt_count",
]
