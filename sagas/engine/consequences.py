"""What follows from a step that ended: its successors, the way back, the end, or a dead letter."""

from django.db.models.functions import Now

from sagas.engine import compensate, dead_letter, trace, transitions
from sagas.engine.decisions import Failed, Next, Outcome, after_step
from sagas.exceptions import CompensationFailed
from sagas.models import StepRun
from sagas.states import DONE, Direction, EventType, SagaState, StepState


def apply_consequences(
    change: transitions.RunChange, step: StepRun, outcome: Outcome, state: StepState
) -> None:
    """Draw the consequences of a step that ended."""
    run = change.run
    if step.pivot and state in DONE:
        transitions.pass_pivot(change, step, state)
    if run.state == SagaState.COMPLETED or (step.detached and run.state != SagaState.COMPENSATING):
        transitions.update_warning(change)
        return
    if step.is_backward and outcome.failure:
        transitions.note_undo_failure(change, f"{step.handler}: {outcome.failure.error}")
    following = after_step(
        state,
        direction=Direction(step.direction),
        critical=step.critical,
        is_irreversible=step.is_irreversible,
        run_state=compensate.state_for(change, step),
        pivot_passed=run.pivot_passed,
        continue_undoing=run.plan.continues_undoing,
        hold_unknown=step.plan.holds_unknown,
    )
    if outcome.failure and outcome.published:
        trace.record_failure(change, outcome.published, by=step)
    too_long = None
    if following is Next.GO_ON and outcome.published and state in DONE:
        too_long = trace.publish_in(change, outcome.published, by=step)
    if too_long is not None:
        failure = Failed(code=too_long.code, error=str(too_long))
        past = run.pivot_passed
        _turn(change, step, failure, Next.DEAD_LETTER if past else Next.TURN_BACK, held=False)
    elif following is Next.GO_ON:
        _go_on(change, step, state)
    elif following is Next.BEGIN_UNDO_WHEN_IDLE:
        compensate.begin_undo_if_idle(change)
    else:
        held = state == StepState.UNKNOWN and step.plan.holds_unknown
        # Of one that was asked about, the error is that from before the question.
        failure = outcome.failure or Failed(code=step.error_code, error=step.error)
        _turn(change, step, failure, following, held=held)


def _go_on(change: transitions.RunChange, step: StepRun, state: StepState) -> None:
    if state not in DONE:
        transitions.set_warning(change)
        if step.is_backward:  # whose chain may have been made anew meanwhile
            step.refresh_from_db(fields=["successors"])
    elif step.is_backward:
        transitions.mark_undone(change, step)
    if step.successors:
        transitions.release_successors(change, step)
    if not step.is_last:
        return
    transitions.count_down(change)
    if change.run.remaining:
        return
    if step.is_backward:
        compensate.finish(change)
    else:
        transitions.move_run(change, SagaState.COMPLETED, EventType.COMPLETED)


def _turn(
    change: transitions.RunChange, step: StepRun, failure: Failed, following: Next, *, held: bool
) -> None:
    if following is Next.TURN_BACK:
        compensate.turn_back(
            change,
            outcome_when_undone=SagaState.COMPENSATED,
            code=failure.code,
            error=failure.error,
            failed_step=step.name,
        )
    elif following is Next.DEAD_LETTER and step.is_backward:
        note = f"{CompensationFailed()} {step.handler}: {failure.error}"
        dead_letter.dead_letter(change, note=note, step=step.handler)
    elif following is Next.DEAD_LETTER:
        dead_letter.dead_letter(
            change,
            note=failure.error,
            step=step.name,
            for_a_human=held,
            code=failure.code,
            failed_step=step.name,
            error=failure.error,
            failed_at=Now(),
        )
