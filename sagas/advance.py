"""An outcome comes in: the door through which every result of a step enters the saga.

Decide (:mod:`sagas.decisions`), then write (:mod:`sagas.transitions`), then send
(:mod:`sagas.dispatch`). Writing is one short transaction under the run's lock: the outcome, what
became ready, the counters and the events stand or fall together. Sending happens after its commit
and only by the winner; if the process dies in between, the rows are ready and the sweep sends.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from sagas import compensate, dispatch, late, standstill, transitions
from sagas.conf import saga_settings
from sagas.decisions import (
    Asking,
    Failed,
    Next,
    NotHappened,
    Outcome,
    Skipped,
    Succeeded,
    Verdict,
    after_step,
    in_the_end,
    judge,
    when_spent,
)
from sagas.definitions import StepOptions
from sagas.exceptions import CompensationFailed, SagaError, StepTimeout, WorkerLost
from sagas.models import StepRun
from sagas.payloads import truncate_error
from sagas.states import Direction, EventType, SagaState, StepState


_EVENTS = {
    StepState.SUCCEEDED: EventType.STEP_SUCCEEDED,
    StepState.FAILED: EventType.STEP_FAILED,
    StepState.UNKNOWN: EventType.STEP_UNKNOWN,
    StepState.SKIPPED: EventType.STEP_SKIPPED,
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of an outcome; true when it counted."""

    won: bool
    """False: the attempt was given up meanwhile, and the outcome is only told, as an event."""

    taken: StepRun | None = None
    """The next step, claimed in place in the outcome's own transaction."""

    def __bool__(self) -> bool:
        return self.won


def record_outcome(
    step: StepRun, outcome: Outcome, claimant: transitions.Claimant | None = None
) -> Recorded:
    """Record what an attempt came to, and move its saga on. Opens its own transaction.

    ``step`` is the row as it was claimed; its fence is the proof of the attempt. ``claimant`` goes
    on with the next step, where that may be run in place.
    """
    if isinstance(outcome, Succeeded):
        following = transitions.succeed(step, outcome.output, claimant)
        if following is not None:
            dispatch.send_on_commit(step.run, following.ready)
            return Recorded(won=True, taken=following.taken)
    with transitions.change(step.run_id, claimant) as change:
        verdict = _judge(change, step, outcome)
        outcome = _in_the_end(step, outcome, verdict)
        won = _write(change, step, outcome, verdict)
        if not won:
            change.tell_late(step, _describe(outcome))
            if isinstance(outcome, Succeeded):
                _take_up(change, step, outcome)
        elif verdict.state != StepState.READY:
            follow(change, step, outcome, verdict.state)
        dispatch.send_on_commit(change.run, change.made_ready)
    return Recorded(won=won, taken=change.taken)


def _in_the_end(step: StepRun, outcome: Outcome, verdict: Verdict) -> Outcome:
    """Let the error of a step that is not tried again tell how often it was tried."""
    goes_on = verdict.state == StepState.READY and not verdict.asking
    if goes_on or step.asking or not isinstance(outcome, Failed):
        return outcome
    final = in_the_end(outcome, step.attempt)
    return replace(final, error=truncate_error(final.error))


def _take_up(change: transitions.RunChange, step: StepRun, outcome: Succeeded) -> None:
    if late.answers_question(change, step, outcome.output):
        follow(change, step, outcome, StepState.SUCCEEDED)
    else:
        late.take_up(change, step, outcome.output)


def _judge(change: transitions.RunChange, step: StepRun, outcome: Outcome) -> Verdict:
    """Decide, within the step's own time."""
    options = StepOptions.from_snapshot(step.options)
    asking = Asking(possible=bool(step.options.get("reconcile")), now=step.asking, times=step.asked)
    verdict = judge(
        outcome,
        attempt=step.attempt,
        options=options,
        doubtful=step.doubtful,
        goes_on=_goes_on(step, SagaState(change.run.state)),
        asking=asking,
    )
    is_retry = verdict.state == StepState.READY and not verdict.asking
    if is_retry and change.expires_within(step, verdict.delay):
        return when_spent(doubtful=verdict.doubtful, asking=asking)
    return verdict


def end_lost_attempt(step: StepRun) -> bool:
    """Give up an attempt whose lease ran out: retried at once, or its outcome is unknown."""
    definitely_not = step.options.get("atomic", False)
    error = _what_ended(step)
    failed = Failed(
        code=error.code,
        error=str(error),
        retryable=True,
        doubtful=not definitely_not,
        at_once=True,
    )
    return record_outcome(step, failed).won


def _what_ended(step: StepRun) -> SagaError:
    """Tell a process that died from a handler that hung until nobody renewed its lease."""
    limit = StepOptions.from_snapshot(step.options).time_limit
    if step.lease_until is None or step.started_at is None:
        return WorkerLost()
    if step.lease_until - step.started_at < timedelta(seconds=limit):
        return WorkerLost()
    message = f"the step ran past its time limit of {limit:g} s"
    return StepTimeout(message, step=step.name, timeout_ms=int(limit * 1000))


def postpone(step: StepRun, error: SagaError) -> bool:
    """Put back a claimed step that this deployment has no handler for; it loses no attempt."""
    with transitions.change(step.run_id) as change:
        return change.put_back(
            step,
            saga_settings().RESEND_SECONDS,
            f"{error.code}: {error}",
            attempt=F("attempt") - 1,
            error_code=error.code,
            error=truncate_error(str(error)),
        )


def _goes_on(step: StepRun, run_state: SagaState) -> bool:
    if step.is_backward:
        return run_state == SagaState.COMPENSATING
    return run_state == SagaState.RUNNING or (step.follow_up and run_state == SagaState.COMPLETED)


def _describe(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return truncate_error(f"{outcome.code}: {outcome.error}")
    if isinstance(outcome, NotHappened):
        return "it did not happen"
    return "skipped" if isinstance(outcome, Skipped) else "succeeded"


def _write(
    change: transitions.RunChange, step: StepRun, outcome: Outcome, verdict: Verdict
) -> bool:
    columns: dict[str, Any] = {}
    note = ""
    if isinstance(outcome, Failed):
        note = _describe(outcome)
        columns = {
            "error_code": outcome.code,
            "error": outcome.error,
            "doubtful": verdict.doubtful,
        }
    elif isinstance(outcome, Succeeded):
        columns = {"output": outcome.output, "error_code": "", "error": "", "doubtful": False}
    elif isinstance(outcome, NotHappened):
        columns = {"doubtful": False}
    if verdict.state == StepState.READY:
        if verdict.asking:
            columns |= {"asking": True, "asked": step.asked + int(step.asking)}
        return change.put_back(step, verdict.delay, note, **columns)
    return change.end_attempt(step, verdict.state, _EVENTS[verdict.state], note, **columns)


def follow(
    change: transitions.RunChange, step: StepRun, outcome: Outcome, state: StepState
) -> None:
    """Draw the consequences of a step that ended. Requires the run's lock."""
    run = change.run
    if step.pivot and state == StepState.SUCCEEDED:
        change.pass_pivot()
    if step.follow_up and run.state != SagaState.COMPENSATING:
        change.reconsider_warnings()
        return
    if step.is_backward and run.retry_count + run.auto_retry_count:
        # The chain may have been made anew while this attempt ran.
        step.refresh_from_db(fields=["successors"])
    if step.is_backward and isinstance(outcome, Failed):
        change.note_undo_failure(f"{step.handler}: {outcome.error}")
    following = after_step(
        state,
        direction=Direction(step.direction),
        critical=step.critical,
        pivot=step.pivot,
        run_state=SagaState(run.state),
        pivot_passed=run.pivot_passed,
        continue_undoing=run.options.get("on_compensation_failure") == "continue",
        hold_unknown=step.options.get("on_unknown") == "hold",
    )
    if following is Next.GO_ON:
        _go_on(change, step, state)
    elif following is Next.SETTLE:
        compensate.settle(change)
    else:
        _turn(change, step, _failure(step, outcome), following)


def _failure(step: StepRun, outcome: Outcome) -> Failed:
    """Return why the step ended; of one that was asked about, the error before the question."""
    if isinstance(outcome, Failed):
        return outcome
    return Failed(code=step.error_code, error=step.error)


def _go_on(change: transitions.RunChange, step: StepRun, state: StepState) -> None:
    succeeded = state in {StepState.SUCCEEDED, StepState.SKIPPED}
    if step.is_backward and succeeded:
        change.mark_undone(step)
    elif not succeeded:
        change.warn()
    if step.successors:
        change.release_successors(step)
        return
    change.count_down()
    if change.run.remaining:
        return
    if step.is_backward:
        compensate.finish(change)
    else:
        change.move(SagaState.COMPLETED, EventType.COMPLETED)


def _turn(change: transitions.RunChange, step: StepRun, failure: Failed, following: Next) -> None:
    if following is Next.TURN_BACK:
        compensate.turn_back(
            change,
            ends_as=SagaState.COMPENSATED,
            code=failure.code,
            error=failure.error,
            failed_step=step.name,
        )
    elif following is Next.DEAD_LETTER and step.is_backward:
        note = f"{CompensationFailed()} {step.handler}: {failure.error}"
        standstill.dead_letter(change, note=note, step=step.handler)
    elif following is Next.DEAD_LETTER:
        standstill.dead_letter(
            change,
            note=failure.error,
            step=step.name,
            failed_step=step.name,
            error_code=failure.code,
            error=failure.error,
            failed_at=Now(),
        )
