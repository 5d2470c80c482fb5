"""``retry_step`` and ``skip_step``: what a human decides about one step."""

from typing import Any

from sagas.definitions import NO_VALUE, registry
from sagas.engine import consequences, dispatch, retry_dead_letter, transitions
from sagas.engine.decisions import Skipped, Succeeded
from sagas.models import SagaRun, StepRun
from sagas.operations.allowed import (
    NOT_RUNNING,
    blocking_steps,
    is_held,
    is_open_end,
    refuse,
    steps_of,
)
from sagas.operations.dead_letters import refuse_held, resume_counted
from sagas.operations.locking import locked
from sagas.payloads import Codec, annotation_name, truncate_error
from sagas.states import ACTIVE_SAGAS, SagaState, StepState
from sagas.texts import mended


def retry_step(run: SagaRun, name: str, *, reason: str, actor: str = "") -> SagaRun:
    """Try a failed or unknown step again, with the same idempotency key.

    A best-effort step of a running or completed saga is tried by itself: the saga does not wait
    for it. The step or compensation because of which a saga is a dead letter is tried as
    :func:`~sagas.operations.retry_saga` does, and counts as such a retry.

    Raises:
        ActionNotAllowed: the step or the saga stands otherwise.
        RetryCapExceeded: the dead letter was retried as often as allowed.
    """
    action = f"retry_step {name}"
    with locked(run, action) as change:
        step = _step(change.run, name, action)
        _require_unsuccessful(change.run, step, action)
        if change.run.state == SagaState.DEAD_LETTER:
            refuse_held(change.run, action)
            _refuse_others_in_the_way(change.run, step, action)
            resume_counted(change, reason=f"{name}: {reason}", actor=actor)
        elif change.run.state in {SagaState.RUNNING, SagaState.COMPLETED}:
            transitions.reopen_step(change, step, note=truncate_error(reason), actor=actor)
        else:
            refuse(change.run, action, "it is not going forward")
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)


def skip_step(
    run: SagaRun, name: str, *, reason: str, result: object = NO_VALUE, actor: str = ""
) -> SagaRun:
    """Say how a step ended that is ready, waiting, failed or unknown, and let the saga go on from there.

    With ``result``, a value of the step's result type, it succeeded: others see that result, and
    it is undone when the saga turns back. Without, it is skipped, and undone only if an attempt of it
    says late that it happened after all. A pivot that is skipped counts as passed. Skipping a
    compensation says that you have undone its step by hand; it takes no result.

    Raises:
        ActionNotAllowed: the step or the saga stands otherwise, or a worker has just claimed it.
        PayloadError: ``result`` is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """
    action = f"skip_step {name}"
    output = NO_VALUE if result is NO_VALUE else result_as_json(run, name, result)
    with locked(run, action) as change:
        step = _step(change.run, name, action)
        if step.is_backward and output is not NO_VALUE and output is not None:
            refuse(change.run, action, "a compensation has no result")
        _require_skippable(change.run, step, action)
        succeeds = step.is_backward or output is not NO_VALUE
        to = StepState.SUCCEEDED if succeeds else StepState.SKIPPED
        output = output if succeeds and output is not NO_VALUE else None
        note = truncate_error(reason)
        if not transitions.settle(change, step, to, output=output, note=note, actor=actor):
            refuse(change.run, action, "a worker has just claimed the step")
        _go_on(change, step, to, output=output, note=note, actor=actor)
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)


def result_from_json(run: SagaRun, name: str, data: object) -> object:
    """Return the result of a step from plain JSON data, as :func:`skip_step` takes it.

    Raises:
        PayloadError: the data is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """
    return _codec(run, name).load(data, what=f"the result of {name} of {run.label}")


def result_type(run: SagaRun, name: str) -> str:
    """Name the type of a step's result, for whoever is to type one in.

    Raises:
        UnknownSaga, UnknownHandler: this code cannot tell.
    """
    return annotation_name(_codec(run, name).annotation)


def result_as_json(run: SagaRun, name: str, result: object) -> object:
    """Return the result of a step as it is stored.

    Raises:
        PayloadError: it is not of the step's result type.
    """
    return _codec(run, name).dump(result, what=f"the result of {name} of {run.label}")


def _codec(run: SagaRun, name: str) -> Codec[Any]:
    return registry.get(run.label).definition.step(name).result_codec


def _step(run: SagaRun, name: str, action: str) -> StepRun:
    """Return the step's row; of a saga on its way back, its compensation if there is one.

    Unless the saga stands still because nobody knows whether that step happened.
    """
    rows = {row.direction: row for row in StepRun.objects.filter(run_id=run.pk, name=mended(name))}
    if not rows:
        names = StepRun.objects.forward().filter(run_id=run.pk).values_list("name", flat=True)
        refuse(run, action, f"it has no such step; it has {', '.join(names)}")
    steps = steps_of(run)
    if is_held(run, steps) and rows["forward"] in blocking_steps(run, steps):
        return rows["forward"]
    return rows.get("backward") or rows["forward"]


def _require_unsuccessful(run: SagaRun, step: StepRun, action: str) -> None:
    if not is_open_end(run, step):
        refuse(run, action, f"{step} is {step.state}, neither failed nor unknown")


def _refuse_others_in_the_way(run: SagaRun, step: StepRun, action: str) -> None:
    blocking = blocking_steps(run, steps_of(run))
    if step not in blocking:
        refuse(run, action, f"{step} is not what stopped the saga")
    others = ", ".join(str(other) for other in blocking if other != step)
    if others:
        refuse(run, action, f"{others} stopped it as well: retry the saga, or skip those")


def _require_skippable(run: SagaRun, step: StepRun, action: str) -> None:
    state = SagaState(run.state)
    if state == SagaState.DEAD_LETTER:
        _require_unsuccessful(run, step, action)
        if step not in blocking_steps(run, steps_of(run)):
            refuse(run, action, f"{step} is not what stopped the saga")
        return
    if state not in ACTIVE_SAGAS | {SagaState.COMPLETED}:
        refuse(run, action, "nothing of it will run any more")
    ended = is_open_end(run, step) and (step.is_backward or state != SagaState.COMPENSATING)
    if not ended and step.state not in NOT_RUNNING:
        refuse(run, action, f"{step} is {step.state}, neither ready, waiting, failed nor unknown")


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
    elif step.state in NOT_RUNNING:
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
    """Go on, unless another step stands in the way as well."""
    if step.is_backward:
        transitions.mark_undone(change, step)
    elif step.pivot:
        transitions.pass_pivot(change, step, to)
    if blocking_steps(change.run, steps_of(change.run)):
        return
    retry_dead_letter.resume(change, note=truncate_error(f"{step.name}: {note}"), actor=actor)
