"""``retry_step`` and ``skip_step``: what a human decides about one step."""

from sagas.definitions import NO_VALUE
from sagas.engine import consequences, retry_dead_letter, transitions
from sagas.engine.decisions import Skipped, Succeeded
from sagas.models import SagaRun, StepRun
from sagas.operations.addressing import BY_STEP
from sagas.operations.dead_letters import hold_refusal, resume_counted
from sagas.operations.operating import operating_on_step, reloaded
from sagas.operations.predicates import (
    Steps,
    blocking_steps,
    child_refusal,
    is_open_end,
    is_over,
    retries_spent,
    steps_of,
)
from sagas.operations.results import refuse_result_of_undo, result_as_json
from sagas.operations.verbs import Refused, StepVerb, entered
from sagas.payloads import truncate_error
from sagas.states import FORWARD_SAGAS, SETTLEABLE_STEPS, SagaState, StepState


def retry_step(run: SagaRun, name: str, *, reason: str, actor: str = "") -> SagaRun:
    """Try a failed or unknown step again, with the same idempotency key.

    A best-effort step of a running or completed saga is tried by itself: the saga does not wait
    for it. The step or compensation because of which a saga is a dead letter is tried as
    :func:`~sagas.operations.retry_saga` does, and counts as such a retry.

    Raises:
        ActionNotAllowed: the state of the step, or of the saga, is another.
        RetryCapExceeded: the dead letter was retried as often as allowed.
    """
    with operating_on_step(run, RETRY_STEP, name) as (change, step):
        if change.run.state == SagaState.DEAD_LETTER:
            resume_counted(change, reason=f"{name}: {reason}", actor=actor)
        else:
            transitions.reopen_step(change, step, note=truncate_error(reason), actor=actor)
    return reloaded(run)


def _retry_refusal(run: SagaRun, steps: Steps, step: StepRun) -> str | None:
    if run.state == SagaState.DEAD_LETTER:
        return (
            _success_refusal(run, step)
            or hold_refusal(run, steps)
            or _bystander_refusal(run, steps, step)
            or _others_refusal(run, steps, step)
            or retries_spent(run)
        )
    goes_forward = run.state in FORWARD_SAGAS
    return _success_refusal(run, step) or (None if goes_forward else "it is not going forward")


def _success_refusal(run: SagaRun, step: StepRun) -> str | None:
    if step.is_past and not step.is_backward:
        return f"{step} is of an earlier life, which a rewind ended"
    return None if is_open_end(run, step) else f"{step} is {step.state}, neither failed nor unknown"


def _bystander_refusal(run: SagaRun, steps: Steps, step: StepRun) -> str | None:
    """Refuse a step that is not why its saga is a dead letter."""
    return None if step in blocking_steps(run, steps) else f"{step} is not what stopped the saga"


def _others_refusal(run: SagaRun, steps: Steps, step: StepRun) -> str | None:
    others = ", ".join(str(other) for other in blocking_steps(run, steps) if other != step)
    return f"{others} stopped it as well: retry the saga, or skip those" if others else None


RETRY_STEP = entered(
    StepVerb(
        name="retry_step",
        help="try a failed step again, by itself or with its dead letter",
        permission="sagas.retry_sagarun",
        operation=retry_step,
        refusal=_retry_refusal,
        naming=BY_STEP,
    )
)


def skip_step(
    run: SagaRun, name: str, *, reason: str, result: object = NO_VALUE, actor: str = ""
) -> SagaRun:
    """Say how a step ended that is ready, waiting, failed or unknown, and let the saga go on from there.

    With ``result``, a value of the step's result type, it succeeded: others see that result, and
    it is undone when the saga turns back. Without, it is skipped, and undone only if an attempt of it
    says late that it happened after all. A pivot that is skipped counts as passed. Skipping a
    compensation says that you have undone its step by hand; it takes no result.

    Raises:
        ActionNotAllowed: the state of the step, or of the saga, is another, or a worker has just
            claimed the step.
        PayloadError: ``result`` is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """
    has_result = result is not NO_VALUE
    with operating_on_step(run, SKIP_STEP, name) as (change, step):
        refuse_result_of_undo(step, result if has_result else None)
        has_output = has_result and not step.is_backward
        output = result_as_json(change.run, step, result) if has_output else None
        to = StepState.SUCCEEDED if has_result or step.is_backward else StepState.SKIPPED
        note = truncate_error(reason)
        if not transitions.settle(change, step, to, output=output, note=note, actor=actor):
            raise Refused("a worker has just claimed the step")
        _go_on(change, step, to, output=output, note=note, actor=actor)
    return reloaded(run)


def _skip_refusal(run: SagaRun, steps: Steps, step: StepRun) -> str | None:
    if is_over(run):
        return "nothing of it will run any more"
    if run.state == SagaState.DEAD_LETTER:
        return _success_refusal(run, step) or _bystander_refusal(run, steps, step)
    if step.plan.child and step.state == StepState.WAITING:
        return child_refusal(step)
    # Of a saga that turns back, what ended forward is for the compensations.
    turned = run.state == SagaState.COMPENSATING or step.is_past
    is_for_undo = turned and not step.is_backward
    if step.state in SETTLEABLE_STEPS or (is_open_end(run, step) and not is_for_undo):
        return None
    return f"{step} is {step.state}, neither ready, waiting, failed nor unknown"


SKIP_STEP = entered(
    StepVerb(
        name="skip_step",
        help="settle a step by hand, with --result or without, and go on from there",
        permission="sagas.skip_step_sagarun",
        operation=skip_step,
        refusal=_skip_refusal,
        naming=BY_STEP,
        takes_result=True,
    )
)


def _go_on(
    change: transitions.RunChange,
    step: StepRun,
    to: StepState,
    *,
    output: object,
    note: str,
    actor: str,
) -> None:
    """Draw the consequences of a step that was settled by hand; ``step`` is as it was before."""
    if change.run.state == SagaState.DEAD_LETTER:
        _leave_dead_letter(change, step, to, note=note, actor=actor)
    elif step.state in SETTLEABLE_STEPS:
        outcome = Succeeded(output=output) if to == StepState.SUCCEEDED else Skipped()
        consequences.apply_consequences(change, step, outcome, to)
    elif step.is_backward:
        transitions.mark_undone(change, step)
    else:
        if step.pivot:
            transitions.pass_pivot(change, step, to)
        transitions.update_warning(change)


def _leave_dead_letter(
    change: transitions.RunChange, step: StepRun, to: StepState, *, note: str, actor: str
) -> None:
    """Go on, unless another step stopped the saga as well."""
    if step.is_backward:
        transitions.mark_undone(change, step)
    elif step.pivot:
        transitions.pass_pivot(change, step, to)
    if blocking_steps(change.run, steps_of(change.run)):
        return
    retry_dead_letter.resume(change, note=truncate_error(f"{step.name}: {note}"), actor=actor)
