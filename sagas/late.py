"""A success that comes after its attempt was given up: it happened, so it counts, and is undone.

A process that was stopped, cut off or slow may finish its work when the saga has long decided
otherwise. Nothing that it did may stay behind a run that says ``compensated``.
"""

from sagas import compensate, transitions
from sagas.models import StepRun
from sagas.states import IN_FLIGHT_STEPS, EventType, SagaState, StepState


GIVEN_UP = frozenset({StepState.UNKNOWN, StepState.FAILED, StepState.COMPENSATED})
ROLLED_BACK = frozenset({SagaState.COMPENSATED, SagaState.CANCELLED})


def answers_question(change: transitions.RunChange, stale: StepRun, output: object) -> bool:
    """Let a late success answer the question whether it happened, which is asked just now.

    Whoever asks may have looked before it happened; its answer loses. Requires the run's lock.
    """
    step = StepRun.objects.get(pk=stale.pk)
    asked = step.asking and step.state in {StepState.READY, StepState.RUNNING}
    return asked and transitions.succeed_late(change, step, output)


def take_up(change: transitions.RunChange, stale: StepRun, output: object) -> None:
    """Take up a late success of a forward step. Requires the run's lock.

    While another attempt is under way, that one tells the outcome: it has the same key.
    """
    step = StepRun.objects.get(pk=stale.pk)
    if step.is_backward or change.run.state == SagaState.RESOLVED:
        return
    if step.state in GIVEN_UP:
        transitions.succeed_late(change, step, output)
        change.reconsider_warnings()
    elif step.state != StepState.SUCCEEDED:
        return
    transitions.distrust_undo(step)
    if change.run.state in {*ROLLED_BACK, SagaState.COMPENSATING}:
        _draw_consequences(change, step)
    elif change.run.state == SagaState.DEAD_LETTER:
        _give_up_undo(change, step)


def _draw_consequences(change: transitions.RunChange, step: StepRun) -> None:
    if not step.pivot and not _is_undone(step):
        return  # its author said that there is nothing to undo
    if change.run.state in ROLLED_BACK:
        change.move(
            SagaState.COMPENSATING,
            EventType.REOPENED,
            note=f"{step.name} succeeded after it had been given up",
        )
        change.restart_count(0)
    elif change.has_in_flight():
        return  # the undo chain is not planned yet, and will have this step in it
    if step.pivot:
        change.pass_pivot()
        compensate.no_way_back(change)
    else:
        _undo(change, step)


def _is_undone(step: StepRun) -> bool:
    forward = StepRun.objects.forward().filter(run_id=step.run_id)
    return bool(step.compensation) and step.name not in compensate.kept_for_good(forward)


def _give_up_undo(change: transitions.RunChange, step: StepRun) -> None:
    """A compensation that runs right now may have come too early: a retry runs it once more."""
    backward = StepRun.objects.backward().filter(run_id=step.run_id, name=step.name)
    for running in backward.filter(state__in=IN_FLIGHT_STEPS):
        transitions.undo_again(change, running)


def _undo(change: transitions.RunChange, step: StepRun) -> None:
    of_run = StepRun.objects.backward().filter(run_id=step.run_id)
    backward = of_run.filter(name=step.name).first()
    if backward is None:
        transitions.insert_undo(change, compensate.undo_row(step, position=of_run.count()))
    elif backward.state in {*IN_FLIGHT_STEPS, StepState.SUCCEEDED}:
        transitions.undo_again(change, backward)
