"""Turning back: what is undone, when, and how it ends.

A compensation is a step like any other, of direction ``backward``. The rows are made when the last
forward step in flight has ended, because only then is it known what ran.
"""

from collections.abc import Iterable, Sequence

from django.db.models.functions import Now

from sagas.engine import dead_letter, decisions, transitions, undo_chain
from sagas.exceptions import PivotPassed
from sagas.models import StepRun
from sagas.states import (
    MAY_HAVE_HAPPENED,
    UNSTARTED_STEPS,
    UNSUCCESSFUL_STEPS,
    EventType,
    SagaState,
    StepState,
)


def turn_back(
    change: transitions.RunChange,
    *,
    outcome_when_undone: SagaState,
    code: str,
    error: str,
    failed_step: str = "",
    actor: str = "",
    anew: bool = False,
) -> None:
    """Make the run ``compensating``; undo at once if nothing is in flight.

    ``anew``: it is a dead letter that had begun to undo, and what failed is tried once more.
    """
    transitions.move_run(
        change,
        SagaState.COMPENSATING,
        EventType.TURNED_BACK,
        note=error,
        actor=actor,
        outcome_when_undone=outcome_when_undone,
        failed_step=failed_step,
        error_code=code,
        error=error,
        failed_at=Now(),
        fingerprint=decisions.fingerprint(change.run.label, failed_step, code, error),
    )
    change.run.outcome_when_undone = outcome_when_undone
    transitions.cancel_unstarted(change)
    begin_undo_if_idle(change, anew=anew)


def begin_undo_if_idle(
    change: transitions.RunChange, *, again: str = "", anew: bool = False
) -> None:
    """Undo what is to be undone, unless a forward step is in flight.

    The run is ``compensating``. Where its chain is there already, it is made anew; see
    :func:`sagas.engine.undo_chain.weave` for ``again`` and ``anew``.
    """
    if transitions.has_in_flight(change):
        return
    forward = _forward_steps(change)
    if any(step.state in UNSTARTED_STEPS for step in forward):
        transitions.cancel_unstarted(change)
        forward = _forward_steps(change)
        if transitions.has_in_flight(change):
            return
    # Only now: past the pivot the saga goes forward again, and what was skipped stays skipped.
    if not decisions.may_be_past_pivot(change.run, forward) and transitions.doubt_skipped(change):
        forward = _forward_steps(change)
    if _stands_still(change, forward):
        return
    wanted = to_undo(forward)
    if not anew:
        given_up = {row.name for row in _undo_failed(change)} - {again}
        wanted = [step for step in wanted if step.name not in given_up]
    if wanted or StepRun.objects.backward().filter(run_id=change.run.pk).in_flight().exists():
        undo_chain.weave(change, wanted, again=again, anew=anew)
    else:
        finish(change)


def keep_order(change: transitions.RunChange, step: StepRun) -> None:
    """A compensation that is tried again waits for what is to be undone before it.

    The chain may have been made anew while its attempt ran, and so been laid behind it; its next attempt
    has its place in that chain. Of a forward step there is nothing to keep.
    """
    if not step.is_backward or change.run.state != SagaState.COMPENSATING:
        return
    row = StepRun.objects.only("position", "successors").get(pk=step.pk)
    behind = StepRun.objects.filter(pk__in=row.successors, position__lte=row.position)
    if behind.exists():
        begin_undo_if_idle(change)


def finish(change: transitions.RunChange) -> None:
    """Everything was undone, so say ``compensated`` or ``cancelled``, after a last look.

    What may have happened and is not undone is undone now; if its undoing failed, the run is a dead
    letter. While a forward step is in flight, nothing ends.
    """
    if transitions.has_in_flight(change):
        return
    forward = _forward_steps(change)
    if _stands_still(change, forward):
        return
    standing = to_undo(forward)
    failed = _undo_failed(change)
    overlooked = {step.name for step in standing} - {row.name for row in failed}
    if overlooked:
        undo_chain.weave(change, [step for step in standing if step.name in overlooked])
    elif standing:
        dead_letter.dead_letter(change, note=change.run.compensation_error, step="")
    else:
        for row in failed:
            transitions.leave_out(change, row)
        ended = SagaState(change.run.outcome_when_undone)
        transitions.move_run(change, ended, EventType(ended.value))


def _forward_steps(change: transitions.RunChange) -> list[StepRun]:
    return list(StepRun.objects.forward().filter(run_id=change.run.pk))


def _undo_failed(change: transitions.RunChange) -> list[StepRun]:
    """Return the compensations that failed, or may have."""
    undo = StepRun.objects.backward().filter(run_id=change.run.pk)
    return list(undo.filter(state__in=UNSUCCESSFUL_STEPS))


def _stands_still(change: transitions.RunChange, forward: Sequence[StepRun]) -> bool:
    """Leave to a human what must not be undone, or not yet; whether there was such a thing."""
    if decisions.may_be_past_pivot(change.run, forward):
        dead_letter.dead_letter(change, note=str(PivotPassed()), step="", code=PivotPassed.code)
        return True
    holding = held(forward)
    if holding:
        names = ", ".join(step.name for step in holding)
        note = f"{names} may have happened, and on_unknown='hold' leaves it to a human"
        transitions.note_undo_failure(change, note)
        dead_letter.dead_letter(change, note=note, step=holding[0].name, for_a_human=True)
    return bool(holding)


def held(forward: Iterable[StepRun]) -> list[StepRun]:
    """Return the steps that may have happened, and of which a human is to say whether they did."""
    return [step for step in forward if step.state == StepState.UNKNOWN and step.plan.holds_unknown]


def to_undo(forward: Sequence[StepRun]) -> list[StepRun]:
    """Return the forward steps that would be undone, in that order."""
    kept = no_longer_compensable(forward)
    return [
        step
        for step in decisions.undo_order(forward)
        if step.compensation and step.state in MAY_HAVE_HAPPENED and step.name not in kept
    ]


def no_longer_compensable(forward: Iterable[StepRun]) -> set[str]:
    """Return the names of the steps whose ``compensable_until`` was reached.

    Only a success that is known reaches it: when nobody can tell, a step is rather undone.
    """
    steps = list(forward)
    reached = {step.name for step in steps if step.happened}
    return {step.name for step in steps if step.plan.compensable_until in reached}
