"""A remote task reports that it did not return, or what cannot be stored: no operator does this."""

from dataclasses import replace

from sagas.engine import late_success, transitions
from sagas.engine.decisions import Reported
from sagas.models import StepRun
from sagas.operations.answering import COMPLETE_STEP, FAIL_STEP, deliver_answer
from sagas.operations.operating import operating_on_step
from sagas.operations.requests import require_request
from sagas.payloads import truncate_error
from sagas.states import IN_FLIGHT_STEPS, StepState


def report_failure(step: StepRun, request: int, failure: Reported, reason: str) -> None:
    """Record that the request of a step failed, or that nobody knows.

    It is definite if the task says so, and no earlier request left a doubt.

    Raises:
        ActionNotAllowed: the step has its answer, or a later request tells.
        TransactionLocked: another transaction kept the saga's lock.
    """
    with operating_on_step(step.run, FAIL_STEP, str(step.pk)) as (change, row):
        require_request(row, request, succeeded=False)
        definite = not (failure.in_doubt or _was_in_doubt(row))
        said = replace(failure, definite=definite)
        deliver_answer(change, row, said, reason=reason, actor="")


def report_unstorable(step: StepRun, request: int, doubt: Reported) -> None:
    """Record that a step happened whose result cannot be stored: it is in doubt, whenever that comes.

    Raises:
        ActionNotAllowed, TransactionLocked: as :func:`report_failure`.
    """
    with operating_on_step(step.run, COMPLETE_STEP, str(step.pk)) as (change, row):
        require_request(row, request, succeeded=True)
        asked = row.state in IN_FLIGHT_STEPS and not row.is_reconciling
        if asked and row.fence == request:
            deliver_answer(change, row, doubt, reason="", actor="")
            return
        transitions.record_late_outcome(change, row, truncate_error(doubt.describe()))
        late_success.doubt(change, row)


def _was_in_doubt(step: StepRun) -> bool:
    """Whether it was before this request was made."""
    if step.state != StepState.WAITING:
        return step.in_doubt
    return bool((step.wait or {}).get("in_doubt", True))
