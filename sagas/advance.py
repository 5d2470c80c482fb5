"""An outcome comes in: the door through which every result of a step enters the saga.

Decide (:mod:`sagas.decisions`), then write (:mod:`sagas.transitions`), then send
(:mod:`sagas.dispatch`). Writing is one short transaction under the run's lock: the outcome, what
became ready, the counters and the events stand or fall together. Sending happens after its commit
and only by the winner; if the process dies in between, the rows are ready and the sweep sends.
"""

from dataclasses import dataclass, replace
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from sagas import compensate, dispatch, late, standstill, transitions
from sagas.answers import answered, as_answer
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
    Waiting,
    after_step,
    in_the_end,
    judge,
    when_spent,
)
from sagas.definitions import StepOptions
from sagas.exceptions import CompensationFailed, SagaError
from sagas.lost import lost
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
            dispatch.send_on_commit(step.run, [following.ready] if following.ready else [])
            return Recorded(won=True, taken=following.taken)
    with transitions.change(step.run_id, claimant) as change:
        won = take_in(change, step, outcome)
        dispatch.send_on_commit(change.run, change.made_ready)
    return Recorded(won=won, taken=change.taken)


def _in_the_end(step: StepRun, outcome: Outcome, verdict: Verdict) -> Outcome:
    """Let the error of a step that is not tried again tell how often it was tried."""
    goes_on = verdict.state == StepState.READY and not verdict.asking
    if goes_on or step.asking or not isinstance(outcome, Failed):
        return outcome
    final = in_the_end(outcome, step.attempt)
    return replace(final, error=truncate_error(final.error))


def take_in(
    change: transitions.RunChange,
    step: StepRun,
    outcome: Outcome,
    *,
    note: str = "",
    actor: str = "",
) -> bool:
    """Record an outcome as :func:`record_outcome` does. Requires the run's lock.

    ``note`` and ``actor`` are of the person or the outside party who told it.
    """
    verdict = _judge(change, step, outcome)
    outcome = _in_the_end(step, outcome, verdict)
    if _write(change, step, outcome, verdict, note=note, actor=actor):
        if verdict.state not in {StepState.READY, StepState.WAITING}:
            follow(change, step, outcome, verdict.state)
        return True
    answer = answered(step, outcome)
    if answer is not None:
        return take_in(change, *answer)
    change.tell_late(step, _describe(outcome))
    if isinstance(outcome, Succeeded):
        take_up(change, step, outcome)
    return False


def take_up(change: transitions.RunChange, step: StepRun, outcome: Succeeded) -> None:
    """Take up a success that came after its attempt was given up. Requires the run's lock."""
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
        goes_on=_goes_on(step, SagaState(change.run.state), outcome),
        asking=asking,
    )
    is_retry = verdict.state == StepState.READY and not verdict.asking
    if is_retry and change.expires_within(step, verdict.delay):
        return when_spent(doubtful=verdict.doubtful, asking=asking)
    return verdict


def end_lost_attempt(step: StepRun) -> bool:
    """Give up an attempt whose lease ran out: tried again, asked about, or its outcome is unknown."""
    return record_outcome(step, lost(step)).won


def postpone(step: StepRun, error: SagaError, *, doubtful: bool = False) -> bool:
    """Put back a claimed step that this deployment has no handler for; it loses no attempt.

    ``doubtful``: its handler had begun.
    """
    doubt = {"doubtful": True} if doubtful else {}
    with transitions.change(step.run_id) as change:
        return change.put_back(
            step,
            saga_settings().RESEND_SECONDS,
            f"{error.code}: {error}",
            attempt=F("attempt") - 1,
            error_code=error.code,
            error=truncate_error(str(error)),
            **doubt,
        )


def _goes_on(step: StepRun, run_state: SagaState, outcome: Outcome) -> bool:
    if run_state == SagaState.DEAD_LETTER and isinstance(outcome, Waiting):
        return True  # what was in flight when it stood still may end in its own way
    if step.is_backward:
        return run_state == SagaState.COMPENSATING
    return run_state == SagaState.RUNNING or (step.follow_up and run_state == SagaState.COMPLETED)


def _describe(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return truncate_error(f"{outcome.code}: {outcome.error}")
    if isinstance(outcome, NotHappened):
        return "it did not happen"
    if isinstance(outcome, Waiting):
        return outcome.note
    return "skipped" if isinstance(outcome, Skipped) else "succeeded"


def _write(
    change: transitions.RunChange,
    step: StepRun,
    outcome: Outcome,
    verdict: Verdict,
    *,
    note: str,
    actor: str,
) -> bool:
    if isinstance(outcome, Waiting) and verdict.state == StepState.WAITING:
        return transitions.begin_wait(change, step, outcome.timeout, outcome.note)
    columns: dict[str, Any] = {}
    if isinstance(outcome, Failed):
        note = truncate_error("; ".join(filter(None, (note, _describe(outcome)))))
        columns = {
            "error_code": outcome.code,
            "error": outcome.error,
            "doubtful": verdict.doubtful,
            **({"answer": as_answer(outcome)} if outcome.certain else {}),
        }
    elif isinstance(outcome, Succeeded):
        columns = {"output": outcome.output, "error_code": "", "error": "", "doubtful": False}
    elif isinstance(outcome, NotHappened | Skipped):
        # A condition is asked before the first handler begins: nothing can have happened.
        columns = {"doubtful": False}
    elif isinstance(outcome, Waiting):
        columns = {"doubtful": True, **transitions.GIVEN_UP}
    if verdict.state == StepState.READY:
        if verdict.asking:
            columns |= {"asking": True, "asked": step.asked + int(step.asking)}
        return change.put_back(step, verdict.delay, note, **columns)
    event = _EVENTS[verdict.state]
    return change.end_attempt(step, verdict.state, event, note, actor=actor, **columns)


def follow(
    change: transitions.RunChange, step: StepRun, outcome: Outcome, state: StepState
) -> None:
    """Draw the consequences of a step that ended. Requires the run's lock."""
    run = change.run
    if step.pivot and state == StepState.SUCCEEDED:
        change.pass_pivot()
    if run.state == SagaState.COMPLETED or (step.follow_up and run.state != SagaState.COMPENSATING):
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
