"""Turning back: what is undone, when, and how it ends.

A compensation is a step like any other, of direction ``backward``. The rows are made when the last
forward step in flight has ended, because only then is it known what ran.
"""

from collections.abc import Iterable, Sequence

from django.db.models.functions import Now

from sagas.engine import dead_letter, decisions, dispatch, forward, transitions, undo_chain
from sagas.exceptions import PivotPassed
from sagas.models import SagaRun, StepRun
from sagas.states import (
    MAY_HAVE_HAPPENED,
    UNSTARTED_STEPS,
    UNSUCCESSFUL_STEPS,
    EventType,
    SagaState,
    StepState,
)


PARENT_TURNED_BACK = "PARENT_TURNED_BACK"
"""The code of a child that is undone because its parent is."""


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
    The ``outcome_when_undone`` of a run that rewinds is ``running``.
    """
    rewinds = outcome_when_undone == SagaState.RUNNING
    transitions.move_run(
        change,
        SagaState.COMPENSATING,
        EventType.REWINDING if rewinds else EventType.TURNED_BACK,
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
    for step in transitions.cancel_unstarted(change):
        turn_back_child(step, code=PARENT_TURNED_BACK, error=f"its parent {change.run} turned back")
    begin_undo_if_idle(change, anew=anew)


def turn_back_child(step: StepRun, *, code: str, error: str) -> None:
    """Turn back the child that a forward step waits for, if it can be; its end is waited for all the same.

    The caller holds the lock of the parent, which is taken before that of the child.
    """
    running = SagaRun.objects.filter(parent_step=step.pk, state=SagaState.RUNNING)
    for pk in running.values_list("pk", flat=True):
        with transitions.change(pk) as child:
            steps = StepRun.objects.filter(run_id=pk).only("state", "in_doubt", "pivot", "options")
            past = decisions.may_be_past_pivot(child.run, steps, begun_counts=True)
            if child.run.state == SagaState.RUNNING and not past:
                cancelled = SagaState.CANCELLED
                turn_back(child, outcome_when_undone=cancelled, code=code, error=error)
                dispatch.send_on_commit(child.run, child.made_ready)


def begin_undo_if_idle(
    change: transitions.RunChange, *, again: str = "", anew: bool = False
) -> None:
    """Undo what is to be undone, unless a forward step is in flight.

    The run is ``compensating``. Where its chain is there already, it is made anew; see
    :func:`sagas.engine.undo_chain.weave` for ``again`` and ``anew``.
    """
    if transitions.has_in_flight(change):
        return
    run, steps = change.run, _forward_steps(change)
    if any(step.state in UNSTARTED_STEPS for step in turned(steps, run)):
        transitions.cancel_unstarted(change)
        steps = _forward_steps(change)
        if transitions.has_in_flight(change):
            return
    # Only now: past the pivot the saga goes forward again, and what was skipped stays skipped.
    if not is_past_pivot(run, turned(steps, run)) and transitions.doubt_skipped(change):
        steps = _forward_steps(change)
    if _stands_still(change, steps):
        return
    wanted = turned(to_undo(steps), run)
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
    letter. While a forward step is in flight, nothing ends. A run that rewinds goes forward again.
    """
    if transitions.has_in_flight(change):
        return
    steps = _forward_steps(change)
    if _stands_still(change, steps):
        return
    standing = turned(to_undo(steps), change.run)
    failed = _undo_failed(change)
    overlooked = {step.name for step in standing} - {row.name for row in failed}
    if overlooked:
        undo_chain.weave(change, [step for step in standing if step.name in overlooked])
    elif standing:
        dead_letter.dead_letter(change, note=change.run.compensation_error, step="")
    else:
        for row in failed:
            transitions.leave_out(change, row)
        _end(change, steps)


def _end(change: transitions.RunChange, steps: Sequence[StepRun]) -> None:
    if not change.run.is_rewinding:
        ended = SagaState(change.run.outcome_when_undone)
        transitions.move_run(change, ended, EventType(ended.value))
        return
    kept = turned(exempt(steps), change.run)
    if kept:
        names = ", ".join(step.name for step in kept)
        note = f"{names} can no longer be undone, so it is not done anew"
        transitions.note_undo_failure(change, note)
        dead_letter.dead_letter(change, note=note, step=kept[0].name, for_a_human=True)
    else:
        forward.go_forward_again(change)


def _forward_steps(change: transitions.RunChange) -> list[StepRun]:
    """Return all of them: what stands tells which of the others can still be undone."""
    return list(StepRun.objects.forward().filter(run_id=change.run.pk))


def turned(steps: Iterable[StepRun], run: SagaRun) -> list[StepRun]:
    """Return those that ``run`` undoes on its way back: all, or of a rewind its own."""
    return [step for step in steps if not run.is_rewinding or step.rewind is not None]


def state_for(change: transitions.RunChange, step: StepRun) -> SagaState:
    """Return the run's state as it is for ``step``: what a rewind lets stand meets a run that stands still.

    It may end in its own way, as in a dead letter, and what follows from it follows later.
    """
    run = change.run
    if run.is_rewinding and run.state == SagaState.COMPENSATING and not step.is_backward:
        # Not what the attempt was given: it may have begun before the rewind.
        stands = StepRun.objects.filter(pk=step.pk, rewind__isnull=True)
        if stands.exists():
            return SagaState.DEAD_LETTER
    return SagaState(run.state)


def is_past_pivot(run: SagaRun, steps: Sequence[StepRun]) -> bool:
    """Whether the steps that a run undoes are past the point of no return, or may be.

    Where they are of earlier lives alone, that of the present one says nothing of them.
    """
    if run.is_rewinding and not run.rewind_to:
        return any(
            decisions.may_have_passed(step.state, is_irreversible=step.is_irreversible)
            for step in steps
        )
    return decisions.may_be_past_pivot(run, steps)


def past_to_undo(steps: Iterable[StepRun]) -> list[StepRun]:
    """Return the steps of earlier lives that are not undone, of all rows of a run."""
    return to_undo([step for step in steps if step.is_past and not step.is_backward])


def _undo_failed(change: transitions.RunChange) -> list[StepRun]:
    """Return the compensations that failed, or may have."""
    undo = StepRun.objects.backward().filter(run_id=change.run.pk)
    return list(undo.filter(state__in=UNSUCCESSFUL_STEPS))


def _stands_still(change: transitions.RunChange, steps: Sequence[StepRun]) -> bool:
    """Leave to a human what must not be undone, or not yet; whether there was such a thing."""
    if is_past_pivot(change.run, turned(steps, change.run)):
        dead_letter.dead_letter(change, note=str(PivotPassed()), step="", code=PivotPassed.code)
        return True
    holding = held(steps)
    if holding:
        names = ", ".join(step.name for step in holding)
        note = f"{names} may have happened, and on_unknown='hold' leaves it to a human"
        transitions.note_undo_failure(change, note)
        dead_letter.dead_letter(change, note=note, step=holding[0].name, for_a_human=True)
    return bool(holding)


def held(steps: Iterable[StepRun]) -> list[StepRun]:
    """Return the steps that may have happened, and of which a human is to say whether they did."""
    return [step for step in steps if step.state == StepState.UNKNOWN and step.plan.holds_unknown]


def to_undo(steps: Sequence[StepRun]) -> list[StepRun]:
    """Return the forward steps that would be undone, in that order."""
    kept = no_longer_compensable(steps)
    return [
        step
        for step in decisions.undo_order(steps)
        if step.compensation and step.state in MAY_HAVE_HAPPENED and step.name not in kept
    ]


def no_longer_compensable(steps: Iterable[StepRun]) -> set[str]:
    """Return the names of the steps whose ``compensable_until`` was reached.

    Only a success that is known reaches it, of a repeated step that of all repetitions which were not
    skipped: when nobody can tell, a step is rather undone. So is what is of an earlier life: a rewind
    ended it before that.
    """
    present = [step for step in steps if not step.is_past]
    reached = {_declared(step) for step in present if step.happened}
    reached -= {
        _declared(step) for step in present if not step.happened and step.state != StepState.SKIPPED
    }
    return {
        step.name for step in present if (step.plan.saga, step.plan.compensable_until) in reached
    }


def _declared(step: StepRun) -> tuple[str, str]:
    return step.plan.saga, step.declared


def exempt(steps: Sequence[StepRun]) -> list[StepRun]:
    """Return the steps that happened, or may have, and can no longer be undone."""
    kept = no_longer_compensable(steps)
    return [
        step
        for step in steps
        if step.compensation and step.state in MAY_HAVE_HAPPENED and step.name in kept
    ]
