"""What an attempt says after it was given up: it counts, whatever was decided meanwhile.

A process that was stopped, cut off or slow may finish its work when the saga has long decided
otherwise. Nothing that it did, or may have done, may stay behind a run that says ``compensated``.
"""

from sagas.engine import compensate, transitions
from sagas.models import StepRun
from sagas.states import (
    FORWARD_SAGAS,
    IN_FLIGHT_STEPS,
    MAY_HAVE_HAPPENED,
    ROLLED_BACK_SAGAS,
    TURNED_BACK_SAGAS,
    UNSTARTED_STEPS,
    SagaState,
    StepState,
)


def ends_now(step: StepRun) -> bool:
    """Whether a late success ends the step: it is being asked about, or between two attempts.

    Whoever asks may have looked before it happened; its answer loses.
    """
    if step.is_backward:
        return False
    return step.state == StepState.READY or (
        step.state == StepState.RUNNING and step.is_reconciling
    )


def undo_late_success(change: transitions.RunChange, step: StepRun, output: object) -> None:
    """Take up a late success of a forward step. ``step`` is as it is now.

    While another attempt is under way, that one tells the outcome: it has the same key.
    """
    if _is_over(change, step):
        return
    if step.state in IN_FLIGHT_STEPS or step.state in UNSTARTED_STEPS:
        transitions.keep_doubt(step)
        return
    if step.state != StepState.SUCCEEDED:
        transitions.succeed_late(change, step, output)
        transitions.update_warning(change)
    _draw_consequences(change, step)


def doubt(change: transitions.RunChange, step: StepRun) -> None:
    """Take up that a forward step may have happened after all."""
    if _is_over(change, step):
        return
    if step.is_reconciling and ends_now(step):
        transitions.reconcile_again(change, step)
    elif step.state in IN_FLIGHT_STEPS or step.state in UNSTARTED_STEPS:
        transitions.keep_doubt(step)
    elif step.state == StepState.SKIPPED:
        transitions.keep_doubt(step)  # it is unknown as soon as the saga undoes its steps
        _draw_consequences(change, step)
    else:
        if step.state not in MAY_HAVE_HAPPENED:
            transitions.doubt_late(change, step)
            if change.run.state in FORWARD_SAGAS:
                transitions.set_warning(change)
        _draw_consequences(change, step)


def _is_over(change: transitions.RunChange, step: StepRun) -> bool:
    """Whether a late word moves nothing: another attempt to undo was made, or a human settled all."""
    return step.is_backward or change.run.state == SagaState.RESOLVED


def _draw_consequences(change: transitions.RunChange, step: StepRun) -> None:
    run = change.run
    transitions.invalidate_earlier_undo_answer(step)
    if step.pivot and step.state == StepState.SUCCEEDED:
        transitions.pass_pivot(change, step)
    state = compensate.state_for(change, step)
    if state == SagaState.DEAD_LETTER:
        _give_up_undo(change, step)
    elif (state in TURNED_BACK_SAGAS or step.is_past) and _is_undone(step):
        note = f"{step.name} {_news(step)} after it had been given up"
        if state in ROLLED_BACK_SAGAS:
            transitions.reopen_run(change, note)
        elif state in FORWARD_SAGAS:  # which goes on when what an earlier life left is undone
            transitions.reopen_run(change, note, outcome_when_undone=SagaState.RUNNING)
            run.outcome_when_undone = SagaState.RUNNING
        compensate.begin_undo_if_idle(change, again=step.name)


def _news(step: StepRun) -> str:
    return "succeeded" if step.state == StepState.SUCCEEDED else "may have happened"


def _is_undone(step: StepRun) -> bool:
    """Whether its author wants it undone; of what nothing can undo, a human is to hear."""
    if step.is_irreversible or compensate.held([step]):
        return True
    forward = StepRun.objects.forward().filter(run_id=step.run_id)
    return bool(step.compensation) and step.name not in compensate.no_longer_compensable(forward)


def _give_up_undo(change: transitions.RunChange, step: StepRun) -> None:
    """A compensation that runs right now may have come too early: a retry runs it once more."""
    undo = StepRun.objects.backward().filter(run_id=step.run_id, name=step.name)
    for running in undo.filter(state__in=IN_FLIGHT_STEPS):
        transitions.undo_again(change, running)
