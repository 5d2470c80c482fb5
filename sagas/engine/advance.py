"""An outcome comes in: every result of a step enters its saga here.

Decide (:mod:`sagas.engine.decisions`), then write (:mod:`sagas.engine.transitions`), then send
(:mod:`sagas.engine.dispatch`). Writing is one short transaction under the run's lock: the outcome, what
became ready, the counters and the events stand or fall together. Sending happens after its commit
and only by the winner; if the process dies in between, the rows are ready and the sweep sends.
"""

from dataclasses import dataclass, replace
from functools import partial

from django.db.models import F, Q
from django.db.models.functions import Now

from sagas.conf import saga_settings
from sagas.engine import children, compensate, consequences, dispatch, late_success, transitions
from sagas.engine.decisions import (
    Outcome,
    Reconciliation,
    Succeeded,
    Verdict,
    Waiting,
    WaitingForChild,
    judge,
    retries_exhausted,
    with_attempt_count,
)
from sagas.engine.early_answers import answered
from sagas.engine.lost_attempts import lost
from sagas.engine.resend import DISCARDED_SECONDS
from sagas.exceptions import NewerVersion, SagaError
from sagas.models import StepRun
from sagas.payloads import truncate_error
from sagas.states import ENDED_STEPS, EventType, SagaState, StepState


MAX_POSTPONEMENT = 300.0
"""Seconds between tries of a step that nobody has a handler for."""


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
    if isinstance(outcome, Succeeded) and not outcome.published:
        following = transitions.succeed(step, outcome.output, claimant)
        if following is not None:
            dispatch.send_on_commit(step.run, [following.ready] if following.ready else [])
            return Recorded(won=True, taken=following.taken)
    with transitions.change(step.run_id, claimant) as change:
        won = apply_outcome(change, step, outcome)
        dispatch.send_on_commit(change.run, change.made_ready)
    return Recorded(won=won, taken=change.taken)


def _in_the_end(step: StepRun, outcome: Outcome, verdict: Verdict) -> Outcome:
    """Let the error of a step that is not tried again tell how often it was tried."""
    failure = outcome.failure
    if failure is None or verdict.is_retry or step.is_reconciling:
        return outcome
    final = with_attempt_count(failure, step.attempt)
    return replace(final, error=truncate_error(final.error))


def apply_outcome(
    change: transitions.RunChange,
    step: StepRun,
    outcome: Outcome,
    *,
    note: str = "",
    actor: str = "",
) -> bool:
    """Record an outcome as :func:`record_outcome` does.

    ``note`` and ``actor`` are of the person or the outside party who told it.
    """
    verdict = _judge(change, step, outcome)
    outcome = _in_the_end(step, outcome, verdict)
    if _write(change, step, outcome, verdict, note=note, actor=actor):
        if verdict.state in ENDED_STEPS:
            consequences.apply_consequences(change, step, outcome, verdict.state)
        elif verdict.is_retry:
            compensate.keep_order(change, step)
        elif isinstance(outcome, WaitingForChild):
            _begin_with_child(change, step, outcome)
        return True
    answer = answered(step, outcome)
    if answer is not None:
        return apply_outcome(change, *answer)
    transitions.record_late_outcome(change, step, truncate_error(outcome.describe()))
    now = transitions.heard_from(step, ended=not outcome.leaves_at_large)
    if isinstance(outcome, Succeeded):
        accept_late_success(change, now, outcome)
    elif outcome.leaves_doubt and not step.is_reconciling:
        late_success.doubt(change, now)
    return False


def _begin_with_child(change: transitions.RunChange, step: StepRun, wait: WaitingForChild) -> None:
    ended = children.begin(change, step, wait)
    if ended is not None:
        apply_outcome(change, StepRun.objects.get(pk=step.pk), ended)


def accept_late_success(change: transitions.RunChange, step: StepRun, outcome: Succeeded) -> None:
    """Take up a success that comes after its attempt was given up.

    ``step`` is the row as it is now.
    """
    if not late_success.ends_now(step):
        late_success.undo_late_success(change, step, outcome.output)
    elif transitions.succeed_late(change, step, outcome.output):
        consequences.apply_consequences(change, step, outcome, StepState.SUCCEEDED)


def _judge(change: transitions.RunChange, step: StepRun, outcome: Outcome) -> Verdict:
    """Decide, within the step's own time."""
    reconciliation = Reconciliation(possible=step.plan.reconcile, attempts=step.reconcile_attempts)
    decide = partial(
        judge,
        outcome,
        attempt=step.attempt,
        options=step.plan,
        goes_on=_goes_on(change, step, outcome),
        at_large=_may_still_act(step, outcome),
        reconciliation=reconciliation,
    )
    verdict = decide(in_doubt=step.in_doubt)
    if verdict.state == StepState.FAILED and _was_put_in_doubt(step, outcome):
        verdict = decide(in_doubt=True)
    if verdict.is_retry and transitions.expires_within(change, step, verdict.delay):
        return retries_exhausted(in_doubt=verdict.in_doubt, reconciliation=reconciliation)
    return verdict


def _was_put_in_doubt(step: StepRun, outcome: Outcome) -> bool:
    """Whether a late word said since the claim that an earlier attempt may have taken effect."""
    failure = outcome.failure
    if failure is None or failure.definite:
        return False
    return StepRun.objects.filter(pk=step.pk, in_doubt=True).exists()


def _may_still_act(step: StepRun, outcome: Outcome) -> bool:
    """Whether, after who says that nothing happened has looked, an earlier attempt may still act."""
    if outcome.ends_as is StepState.FAILED:
        return StepRun.objects.filter(pk=step.pk, at_large__isnull=False).exists()
    return False


def end_lost_attempt(step: StepRun, only_if: Q | None = None) -> bool:
    """Give up an attempt whose lease ran out: tried again, asked about, or its outcome is unknown.

    False when it ended or renewed its lease meanwhile, or ``only_if`` no longer holds.
    """
    with transitions.change(step.run_id) as change:
        still_lost = StepRun.objects.lost(Now()).filter(
            only_if or Q(), pk=step.pk, state=step.state, fence=step.fence
        )
        for row in still_lost.select_for_update(of=("self",)).select_related("run"):
            if row.is_to_remind:
                transitions.remind(change, row)
                return False
            if row.state == StepState.WAITING and row.plan.child:
                children.end_in_time(row)
            else:
                apply_outcome(change, row, lost(row))
            dispatch.send_on_commit(change.run, change.made_ready)
            return True
    return False


def postpone(step: StepRun, error: SagaError, *, in_doubt: bool = False) -> bool:
    """Put back a claimed step that this deployment has no handler for; it loses no attempt.

    Of a run that turned back meanwhile it is not begun any more. The longer nobody can run it, the
    more seldom that is tried. ``in_doubt``: its handler had begun.
    """
    doubt = {"in_doubt": True} if in_doubt else {}
    with transitions.change(step.run_id) as change:
        won = transitions.put_back(
            change,
            step,
            EventType.STEP_RETRYING,
            delay=_postponement(step, error),
            note=f"{error.code}: {error}",
            guard=transitions.UNANSWERED,
            attempt=F("attempt") - 1,
            error_code=error.code,
            error=truncate_error(str(error)),
            **doubt,
        )
        state = compensate.state_for(change, step)
        turned = state == SagaState.COMPENSATING and not step.is_backward
        if won and turned and not step.is_reconciling:
            transitions.cancel_unstarted(change)
            compensate.begin_undo_if_idle(change)
        elif won:
            compensate.keep_order(change, step)
        dispatch.send_on_commit(change.run, change.made_ready)
    return won


def _postponement(step: StepRun, error: SagaError) -> float:
    """Return the seconds after which a step that was put back is tried again: doubled each time.

    What newer code has started is for a worker beside this one. So at first it is sent again as a
    message is that was thrown away: soon, and each time a little later.
    """
    longest = saga_settings().RESEND_SECONDS
    tries = step.events.filter(type=EventType.STEP_RETRYING, attempt=step.attempt).count()
    if isinstance(error, NewerVersion):
        soon = DISCARDED_SECONDS * (tries + 1)
        if soon < longest:
            return soon
        tries -= int(longest / DISCARDED_SECONDS) - 1
    return min(longest * 2.0 ** max(tries, 0), MAX_POSTPONEMENT)


def _goes_on(change: transitions.RunChange, step: StepRun, outcome: Outcome) -> bool:
    run_state = SagaState(change.run.state)
    if compensate.state_for(change, step) != run_state:
        return True  # beside a rewind: a next attempt of it begins when that is over
    if run_state == SagaState.DEAD_LETTER and isinstance(outcome, Waiting):
        return True  # what was in flight when it stood still may end in its own way
    if step.is_backward:
        return run_state == SagaState.COMPENSATING
    return run_state == SagaState.RUNNING or (step.detached and run_state == SagaState.COMPLETED)


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
        return transitions.begin_wait(change, step, outcome)
    if outcome.failure:
        note = truncate_error("; ".join(filter(None, (note, outcome.describe()))))
    columns = {**outcome.columns(), **verdict.columns()}
    if outcome.leaves_at_large:
        columns |= transitions.at_large(step)
    guard = transitions.UNANSWERED if outcome.yields_to_answer else transitions.ANY
    if verdict.state == StepState.READY:
        return transitions.put_back(
            change, step, verdict.event, delay=verdict.delay, note=note, guard=guard, **columns
        )
    return transitions.end_attempt(
        change, step, verdict.state, verdict.event, note=note, actor=actor, guard=guard, **columns
    )
