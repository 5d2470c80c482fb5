"""``complete_step`` and ``fail_step``: an outside party, or whoever speaks for it, answers a step."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from sagas.engine import advance, consequences, transitions
from sagas.engine.decisions import Failed, Succeeded
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.models.moments import format_moment
from sagas.operations.addressing import BY_ROW, undo_of
from sagas.operations.operating import operating_on_step, reloaded
from sagas.operations.predicates import Steps, child_refusal
from sagas.operations.requests import require_request, says_the_same
from sagas.operations.results import refuse_result_of_undo, result_as_json
from sagas.operations.verbs import Refused, StepVerb, entered
from sagas.payloads import truncate_error
from sagas.states import IN_FLIGHT_STEPS, UNSUCCESSFUL_STEPS, EventType, SagaState, StepState


CODE_LENGTH = 100


def complete_step(
    run: SagaRun,
    name: str,
    *,
    reason: str,
    result: Any = None,
    request: int | None = None,
    actor: str = "",
) -> SagaRun:
    """Say that a waiting step succeeded, with ``result``, a value of the step's result type.

    ``name`` is that of the step, or its id; or that of its compensation, which is completed without a
    result. One method that undoes several steps means the one that is in flight; ``undo of charge``
    says which.
    An answer that comes before the step waits is kept and used when its attempt ends, unless that
    succeeds by itself. One that comes after the step was given up is a late success: it is recorded,
    and undone if the saga turned back.

    ``request`` names the request that is answered, by the fence of the attempt that made it: for one
    who delivers answers. Then an answer that is delivered twice changes nothing the second time, and
    one to a request to undo that came too early is refused. Without it, whatever waits is answered.

    Raises:
        ActionNotAllowed: the step has another answer already, or nothing of it can have happened.
        PayloadError: ``result`` is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """

    def succeeded(of: SagaRun, step: StepRun) -> Succeeded:
        refuse_result_of_undo(step, result)
        return Succeeded(output=None if step.is_backward else result_as_json(of, step, result))

    return _answer(run, COMPLETE_STEP, name, succeeded, request, reason=reason, actor=actor)


def complete_compensation(
    run: SagaRun, name: str, *, reason: str, request: int | None = None, actor: str = ""
) -> SagaRun:
    """Say that a step is undone whose compensation waits; as :func:`complete_step` does.

    ``name`` is that of the step, and always means its compensation.

    Raises:
        ActionNotAllowed: the step is not being undone, or its compensation has its answer already.
    """
    return complete_step(run, undo_of(name), reason=reason, request=request, actor=actor)


def fail_step(
    run: SagaRun,
    name: str,
    *,
    error: str,
    reason: str,
    code: str = "FAILED_OUTSIDE",
    request: int | None = None,
    actor: str = "",
) -> SagaRun:
    """Say that a waiting step definitely did not happen: it failed, and is not tried again.

    ``name`` is that of the step, or of its compensation, which makes the saga a dead letter; it and
    ``request`` as for :func:`complete_step`. A failure to an earlier request than the one that waits is refused.
    An answer that comes before the step waits is kept and used when its attempt ends, unless that
    succeeds by itself. ``error`` and ``code`` become those of the step and of its saga.

    Raises:
        ActionNotAllowed: the step has another answer already, or is not waited for.
    """
    outcome = Failed(
        code=truncate_error(code)[:CODE_LENGTH], error=truncate_error(error), definite=True
    )
    return _answer(run, FAIL_STEP, name, lambda *_: outcome, request, reason=reason, actor=actor)


def _answer(
    run: SagaRun,
    verb: StepVerb,
    name: str,
    outcome_of: Callable[[SagaRun, StepRun], Succeeded | Failed],
    request: int | None,
    *,
    reason: str,
    actor: str,
) -> SagaRun:
    if request is not None:
        name = _in_its_life(run, name, request)
    if request is not None and _is_told_again(run, name, outcome_of):
        return reloaded(run)  # without a lock: the same may come a hundred times
    try:
        with operating_on_step(run, verb, name) as (change, step):
            outcome = outcome_of(change.run, step)
            if request is not None:
                require_request(step, request, succeeded=isinstance(outcome, Succeeded))
            deliver_answer(change, step, outcome, reason=reason, actor=actor)
    except ActionNotAllowed:
        # Another delivery of the same answer may have been faster.
        if request is None or not _is_told_again(run, name, outcome_of):
            raise
    return reloaded(run)


def _in_its_life(run: SagaRun, name: str, request: int) -> str:
    """Return the id of the step if a rewind has ended the life in which ``request`` was made.

    The fences of a step go on from one life to the next; an id tells the life by itself.
    """
    with suppress(ValueError):
        return str(UUID(name))
    past = StepRun.objects.filter(run_id=run.pk, rewind__gt=0, fence__gte=request)
    rows = [row for row in past.order_by("rewind") if name == _name_in_its_life(row)]
    return str(rows[0].pk) if rows else name


def _name_in_its_life(row: StepRun) -> str:
    return undo_of(row.present_name) if row.is_backward else row.present_name


def _is_told_again(
    run: SagaRun, name: str, outcome_of: Callable[[SagaRun, StepRun], Succeeded | Failed]
) -> bool:
    """Whether just this answer was taken before."""
    try:
        step = BY_ROW.find(run, StepRun.objects.filter(run_id=run.pk), name)
        return says_the_same(run, step, outcome_of(run, step))
    except Refused:
        return False


def _refusal(run: SagaRun, steps: Steps, step: StepRun, *, succeeded: bool) -> str | None:
    if run.state == SagaState.RESOLVED:
        return "nothing of it will run any more"
    if step.is_approval:
        return f"{step} is a person's to decide, by approve_step or reject_step"
    if step.plan.child and step.state in IN_FLIGHT_STEPS:
        return child_refusal(step)
    if step.state == StepState.WAITING or (succeeded and _may_have_happened(step)):
        return None
    if step.state != StepState.RUNNING:
        return _why_not(steps, step)
    return None if step.answer is None else _answered(step)


def _answered(step: StepRun) -> str:
    return f"{step} has its answer already, or has just ended"


def _is_asked_for(step: StepRun) -> bool:
    """Whether somebody is to answer now. What comes early or late is accepted all the same."""
    return step.state == StepState.WAITING and not step.is_approval


COMPLETE_STEP = entered(
    StepVerb(
        name="complete_step",
        help="say that a step which waits succeeded, with --result",
        permission="sagas.answer_step_sagarun",
        operation=complete_step,
        refusal=partial(_refusal, succeeded=True),
        naming=BY_ROW,
        takes_result=True,
        only_if=_is_asked_for,
    )
)
FAIL_STEP = entered(
    StepVerb(
        name="fail_step",
        help="say that a step which waits did not happen, because of --error",
        permission="sagas.answer_step_sagarun",
        operation=fail_step,
        refusal=partial(_refusal, succeeded=False),
        naming=BY_ROW,
        takes_error=True,
        only_if=_is_asked_for,
    )
)


def deliver_answer(
    change: transitions.RunChange,
    step: StepRun,
    outcome: Succeeded | Failed,
    *,
    reason: str,
    actor: str,
) -> None:
    """Make an answer the outcome of a step that waits, or keep it for one that is about to."""
    who = {"note": truncate_error(reason), "actor": actor}
    is_late = step.state != StepState.RUNNING or step.is_reconciling
    if step.state == StepState.WAITING:
        advance.apply_outcome(change, step, outcome, **who)
    elif is_late and isinstance(outcome, Succeeded):
        transitions.record_late_outcome(change, step, **who)
        _accept_late(change, step, outcome)
    elif not transitions.keep_answer(change, step, outcome.as_answer(), **who):
        raise Refused(_answered(step))


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
    if step.state == StepState.COMPENSATED:
        return step.in_doubt
    return step.state in UNSUCCESSFUL_STEPS


def _was_skipped_by_hand(step: StepRun) -> bool:
    """Whether a human skipped it after an attempt had begun; else its condition said no."""
    types = set(step.events.values_list("type", flat=True))
    return {EventType.STEP_CLAIMED, EventType.STEP_SETTLED} <= types


def _accept_late(change: transitions.RunChange, step: StepRun, outcome: Succeeded) -> None:
    if step.state != StepState.READY:
        advance.accept_late_success(change, step, outcome)
    elif transitions.succeed_late(change, step, outcome.output):
        consequences.apply_consequences(change, step, outcome, StepState.SUCCEEDED)
    else:
        step.refresh_from_db()
        transitions.keep_answer(change, step, outcome.as_answer(), note="", actor="")


def _why_not(steps: Steps, step: StepRun) -> str:
    since = f" since {format_moment(step.ended_at)}" if step.ended_at else ""
    why = f"{step} is {step.state}{since}, not waiting"
    if step.is_backward and step.state in UNSUCCESSFUL_STEPS:
        return f"{why}; skip_step says that it was undone after all"
    for undo in steps:
        waits = undo.is_backward and undo.state == StepState.WAITING
        if waits and undo.name == step.name and undo != step:
            why = f"{why}; its compensation {undo.handler} is"
    return why
