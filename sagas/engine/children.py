"""A step that is a saga of its own: the child is started, and turned back, by transactions of the parent.

The step waits, without a worker, until the child has ended. Of a child nothing is ever in doubt: it is
started in the transaction in which the wait begins, so there are both or neither. The lock of the parent
is taken before that of the child, always.
"""

from dataclasses import replace

from sagas.engine import compensate, decisions, dispatch, transitions
from sagas.engine.decisions import Failed, Outcome, Succeeded, WaitingForChild
from sagas.exceptions import SagaConflict, StepTimeout
from sagas.models import SagaRun, SagaRunQuerySet, StepRun
from sagas.states import FORWARD_SAGAS, ROLLED_BACK_SAGAS, SagaState


RESOLVED = "CHILD_RESOLVED"
"""The code of a step whose child a human settled: whether it stands is not known here."""

NOT_REVERSIBLE = "CHILD_NOT_REVERSIBLE"
"""The code of a compensation whose child cannot be turned back."""


def begin(change: transitions.RunChange, step: StepRun, wait: WaitingForChild) -> Outcome | None:
    """Start the child that ``step`` waits for from now on, or turn it back; return its end if it is there.

    ``step`` is the row as it was claimed.
    """
    if step.is_backward:
        return _undo(change, step)
    plan, new = wait.child
    before = SagaRun.objects.filter(parent_step=step.pk).count()
    # The child before was undone, and its key says so for ever.
    key = f"{step.idempotency_key}/{before + 1}" if before else step.idempotency_key
    new = replace(new, key=key, parent_step=step.pk)
    ((run, steps),) = transitions.insert_runs(plan, [new], grace=change.grace)
    if not run.created:
        error = f"a {run.label} with key {key!r} exists, and is not a child of this step"
        return Failed(code=SagaConflict.code, error=error, definite=True)
    dispatch.send_on_commit(run, steps)
    return None if wait.awaited else _result(run)


def end_of(child: SagaRun) -> Outcome | None:
    """Return what the state of a child means for the step that waits for it; None: it waits on."""
    what = f"its child {child.label} {child.key}"
    if child.state == SagaState.COMPLETED:
        return _result(child)
    if child.state in ROLLED_BACK_SAGAS:
        where = f"{child.failed_step}: " if child.failed_step else ""
        error = f"{what} was {child.state}, because {where}{child.error}"
        return Failed(code=child.error_code, error=error, definite=True)
    if child.state == SagaState.RESOLVED:
        return Failed(code=RESOLVED, error=f"{what} was settled by hand", in_doubt=True)
    return None


def end_of_undoing(undo: StepRun) -> Outcome | None:
    """Return the end of a compensation that waits for its children to be undone; None: it waits on."""
    standing = list(_standing(undo))
    for child in standing:
        if child.state == SagaState.RESOLVED:
            error = f"its child {child.label} {child.key} was settled by hand"
            return Failed(code=RESOLVED, error=error, in_doubt=True)
    return None if standing else Succeeded(output=None)


def end_in_time(step: StepRun) -> None:
    """The step's own time is over: its child is turned back if it can be, and its end waited for."""
    transitions.wait_on(step)
    if not step.is_backward:
        error = f"{step.name} of its parent ran out of time"
        compensate.turn_back_child(step, code=StepTimeout.code, error=error)


def _result(run: SagaRun) -> Succeeded:
    return Succeeded(output={"id": str(run.pk), "key": run.key})


def _standing(undo: StepRun) -> SagaRunQuerySet:
    """Return the children that the compensation ``undo`` is to undo, and that are not undone."""
    ours = SagaRun.objects.filter(parent_step__run=undo.run_id, parent_step__name=undo.name)
    return ours.exclude(state__in=ROLLED_BACK_SAGAS)


def _undo(change: transitions.RunChange, undo: StepRun) -> Outcome | None:
    """Turn the child back, in the transaction in which the compensation begins to wait for that."""
    for pk in _standing(undo).values_list("pk", flat=True):
        with transitions.change(pk) as child:
            if child.run.state not in FORWARD_SAGAS:
                continue
            steps = list(StepRun.objects.filter(run_id=pk))
            if decisions.may_be_past_pivot(child.run, steps, begun_counts=True):
                error = f"its child {child.run} is past its point of no return, or may be"
                return Failed(code=NOT_REVERSIBLE, error=error, definite=True)
            compensate.turn_back(
                child,
                outcome_when_undone=SagaState.COMPENSATED,
                code=compensate.PARENT_TURNED_BACK,
                error=f"its parent {change.run} is undone",
            )
            dispatch.send_on_commit(child.run, child.made_ready)
    return end_of_undoing(undo)
