"""``complete_step`` and ``fail_step``: an outside party, or whoever speaks for it, answers a step."""

from typing import Any

from sagas.engine import advance, consequences, dispatch, transitions
from sagas.engine.decisions import Failed, Succeeded
from sagas.models import SagaRun, StepRun
from sagas.models.moments import format_moment
from sagas.operations.addressing import addressed
from sagas.operations.allowed import UNSUCCESSFUL, refuse
from sagas.operations.locking import locked
from sagas.operations.steps import result_as_json
from sagas.payloads import truncate_error
from sagas.states import EventType, SagaState, StepState


CODE_LENGTH = 100
_GIVEN_UP = frozenset({StepState.UNKNOWN, StepState.FAILED, StepState.COMPENSATED})


def complete_step(
    run: SagaRun, name: str, *, reason: str, result: Any = None, actor: str = ""
) -> SagaRun:
    """Say that a waiting step succeeded, with ``result``, a value of the step's result type.

    ``name`` is that of the step; or of its compensation, which is completed without a result. One method
    that undoes several steps means the one that is in flight; ``undo of charge`` says which.
    An answer that comes before the step waits is kept and used when its attempt ends, unless that
    succeeds by itself. One that comes after the step was given up is a late success: it is recorded,
    and undone if the saga turned back.

    Raises:
        ActionNotAllowed: the step has its answer already, or nothing of it can have happened.
        PayloadError: ``result`` is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """
    action = f"complete_step {name}"
    with locked(run, action) as change:
        step = addressed(change.run, name, action)
        if step.is_backward and result is not None:
            refuse(change.run, action, "a compensation has no result")
        output = None if step.is_backward else result_as_json(change.run, name, result)
        _answer(change, step, Succeeded(output=output), action, reason=reason, actor=actor)
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)


def fail_step(
    run: SagaRun,
    name: str,
    *,
    error: str,
    reason: str,
    code: str = "FAILED_OUTSIDE",
    actor: str = "",
) -> SagaRun:
    """Say that a waiting step definitely did not happen: it failed, and is not tried again.

    ``name`` is that of the step, or of its compensation, which makes the saga a dead letter; as for
    :func:`complete_step`.
    An answer that comes before the step waits is kept and used when its attempt ends, unless that
    succeeds by itself. ``error`` and ``code`` become those of the step and of its saga.

    Raises:
        ActionNotAllowed: the step has its answer already, or is not waited for.
    """
    action = f"fail_step {name}"
    outcome = Failed(
        code=truncate_error(code)[:CODE_LENGTH], error=truncate_error(error), definite=True
    )
    with locked(run, action) as change:
        step = addressed(change.run, name, action)
        _answer(change, step, outcome, action, reason=reason, actor=actor)
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)


def _answer(
    change: transitions.RunChange,
    step: StepRun,
    outcome: Succeeded | Failed,
    action: str,
    *,
    reason: str,
    actor: str,
) -> None:
    who = {"note": truncate_error(reason), "actor": actor}
    if change.run.state == SagaState.RESOLVED:
        refuse(change.run, action, "nothing of it will run any more")
    if step.state == StepState.WAITING:
        advance.apply_outcome(change, step, outcome, **who)
    elif isinstance(outcome, Succeeded) and _may_have_happened(step):
        transitions.record_late_outcome(change, step, **who)
        _accept_late(change, step, outcome)
    elif step.state != StepState.RUNNING:
        refuse(change.run, action, _why_not(step))
    elif not transitions.keep_answer(change, step, outcome.as_answer(), **who):
        refuse(change.run, action, f"{step} has its answer already, or has just ended")


def _may_have_happened(step: StepRun) -> bool:
    """Whether a success can still be news of a step that is no longer, or not yet again, waiting."""
    if step.state == StepState.READY:
        return step.in_doubt
    if step.state == StepState.RUNNING:
        return step.is_reconciling
    if step.is_backward or step.answer is not None:
        return False
    if step.state == StepState.SKIPPED:
        return _was_skipped_by_hand(step)
    return step.state in _GIVEN_UP and (step.in_doubt or step.state != StepState.COMPENSATED)


def _was_skipped_by_hand(step: StepRun) -> bool:
    """Whether a human skipped it after an attempt had begun; else its condition said no."""
    told = set(step.events.values_list("type", flat=True))
    return {EventType.STEP_CLAIMED, EventType.STEP_SETTLED} <= told


def _accept_late(change: transitions.RunChange, step: StepRun, outcome: Succeeded) -> None:
    if step.state != StepState.READY:
        advance.accept_late_success(change, step, outcome)
    elif transitions.succeed_late(change, step, outcome.output):
        consequences.apply_consequences(change, step, outcome, StepState.SUCCEEDED)
    else:
        step.refresh_from_db()
        transitions.keep_answer(change, step, outcome.as_answer(), note="", actor="")


def _why_not(step: StepRun) -> str:
    since = f" since {format_moment(step.ended_at)}" if step.ended_at else ""
    why = f"{step} is {step.state}{since}, not waiting"
    if step.is_backward and step.state in UNSUCCESSFUL:
        return f"{why}; skip_step says that it was undone after all"
    undo = StepRun.objects.backward().filter(run_id=step.run_id, name=step.name)
    for waiting in undo.filter(state=StepState.WAITING).exclude(pk=step.pk):
        why = f"{why}; its compensation {waiting.handler} is"
    return why
