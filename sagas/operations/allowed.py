"""Which verbs a run allows now, and how one is refused."""

from collections.abc import Sequence
from typing import Never

from sagas.conf import MAX_RETRY_COUNT
from sagas.engine import compensate, retry_dead_letter
from sagas.exceptions import ActionNotAllowed, DeadLetterError
from sagas.models import SagaRun, StepRun
from sagas.models.moments import CLOCK, format_moment
from sagas.states import ACTIVE_SAGAS, SagaState, StepState


UNSUCCESSFUL = frozenset({StepState.FAILED, StepState.UNKNOWN})
NOT_RUNNING = frozenset({StepState.READY, StepState.WAITING})
"""No worker has it at this moment, so a human can settle it."""

_NOT_BEGUN = frozenset(
    {
        StepState.PENDING,
        StepState.READY,
        StepState.FAILED,
        StepState.SKIPPED,
        StepState.CANCELLED,
    }
)
_COLUMNS = (
    "run_id",
    "name",
    "direction",
    "state",
    "fence",
    "critical",
    "pivot",
    "in_doubt",
    "detached_retry",
    "options",
)


def allowed_actions(run: SagaRun) -> frozenset[str]:
    """Return the names of the verbs that the run's state allows. ``revert`` is compensating it.

    ``retry_step``, ``skip_step``, ``complete_step`` and ``fail_step`` stand for some of its steps,
    not for each.
    """
    if run.state not in {*ACTIVE_SAGAS, SagaState.COMPLETED, SagaState.DEAD_LETTER}:
        return frozenset()
    steps = steps_of(run)
    names = {
        SagaState.RUNNING: _of_running,
        SagaState.COMPENSATING: _of_compensating,
        SagaState.COMPLETED: _of_completed,
        SagaState.DEAD_LETTER: _of_dead_letter,
    }[SagaState(run.state)](run, steps)
    return frozenset(names | _answering(steps))


def allowed_step_actions(run: SagaRun, steps: Sequence[StepRun]) -> dict[str, frozenset[str]]:
    """Return which verbs of steps the state allows, by the step's name.

    ``steps`` are all rows of the run. A step that has a compensation stands for that one.
    """
    newest = {step.name: step for step in sorted(steps, key=lambda step: step.is_backward)}
    if is_held(run, steps):
        newest |= {step.name: step for step in blocking_steps(run, steps)}
    names = {
        name: frozenset(
            _retrying(run, step, steps) | _settling(run, step, steps) | _answering([step])
        )
        for name, step in newest.items()
    }
    return {name: actions for name, actions in names.items() if actions}


def _retrying(run: SagaRun, step: StepRun, steps: Sequence[StepRun]) -> set[str]:
    if run.state == SagaState.DEAD_LETTER:
        alone = blocking_steps(run, steps) == [step] and run.retry_count < MAX_RETRY_COUNT
        return {"retry_step"} if alone and not is_held(run, steps) else set()
    goes_on = run.state in {SagaState.RUNNING, SagaState.COMPLETED}
    return {"retry_step"} if goes_on and is_open_end(run, step) else set()


def _settling(run: SagaRun, step: StepRun, steps: Sequence[StepRun]) -> set[str]:
    if run.state == SagaState.DEAD_LETTER:
        return {"skip_step"} if step in blocking_steps(run, steps) else set()
    if run.state not in {*ACTIVE_SAGAS, SagaState.COMPLETED}:
        return set()
    ended = is_open_end(run, step) and (step.is_backward or run.state != SagaState.COMPENSATING)
    return {"skip_step"} if ended or step.state in NOT_RUNNING else set()


def is_open_end(run: SagaRun, step: StepRun) -> bool:
    """Whether a step ended without success, or its saga completed without it."""
    left_out = step.state == StepState.CANCELLED and run.state == SagaState.COMPLETED
    return step.state in UNSUCCESSFUL or left_out


def steps_of(run: SagaRun) -> list[StepRun]:
    """Return what decides of the steps of a run, without their payloads."""
    return list(StepRun.objects.filter(run_id=run.pk).only(*_COLUMNS))


def may_be_past_pivot(run: SagaRun, steps: Sequence[StepRun]) -> bool:
    """Whether the point of no return was passed, or may be at this moment."""
    return run.pivot_passed or any(
        compensate.is_final(step)
        and not step.is_backward
        and (step.state not in _NOT_BEGUN or step.in_doubt)
        for step in steps
    )


def blocking_steps(run: SagaRun, steps: Sequence[StepRun]) -> list[StepRun]:
    """Return the steps because of which a dead letter cannot go on."""
    if not retry_dead_letter.is_turned(run, steps):
        return [step for step in steps if step.critical and step.state in UNSUCCESSFUL]
    backward = [step for step in steps if step.is_backward and step.state in UNSUCCESSFUL]
    return compensate.held([step for step in steps if not step.is_backward]) or backward


def is_held(run: SagaRun, steps: Sequence[StepRun]) -> bool:
    """Whether a dead letter would undo, if a human said of its unknown steps whether they happened."""
    forward = [step for step in steps if not step.is_backward]
    return (
        run.state == SagaState.DEAD_LETTER
        and retry_dead_letter.is_turned(run, steps)
        and bool(compensate.held(forward))
    )


def is_undoing(steps: Sequence[StepRun]) -> bool:
    """Whether its compensations are planned already."""
    return any(step.is_backward for step in steps)


def refuse(run: SagaRun, action: str, why: str) -> Never:
    """Tell an operator why not, what the run allows now, and who was there before."""
    allowed = sorted(allowed_actions(run))
    last = run.events.exclude(actor="").order_by("-pk").first()
    before = (
        f" ({last.get_type_display()}, {last.actor}, {format_moment(last.at, CLOCK)})"
        if last
        else ""
    )
    message = (
        f"{run} is {run.state}{before}: {action} is not possible, because {why};"
        f" possible now: {', '.join(allowed) or 'nothing'}"
    )
    error = DeadLetterError if run.state == SagaState.DEAD_LETTER else ActionNotAllowed
    raise error(
        message,
        run_id=run.pk,
        action=action,
        state=run.state,
        allowed=allowed,
        stored_error=run.error,
    )


def _of_running(run: SagaRun, steps: list[StepRun]) -> set[str]:
    turning = set() if may_be_past_pivot(run, steps) else {"cancel", "compensate"}
    return turning | _pausing(run) | _following_up(run, steps) | _skipping(steps, *NOT_RUNNING)


def _of_compensating(run: SagaRun, steps: list[StepRun]) -> set[str]:
    backward = [step for step in steps if step.is_backward]
    failed = _skipping(backward, *UNSUCCESSFUL)
    return _pausing(run) | _skipping(steps, *NOT_RUNNING) | failed


def _of_completed(run: SagaRun, steps: list[StepRun]) -> set[str]:
    reverting = set() if may_be_past_pivot(run, steps) else {"revert"}
    return reverting | _following_up(run, steps) | _skipping(steps, *NOT_RUNNING)


def _of_dead_letter(run: SagaRun, steps: list[StepRun]) -> set[str]:
    blocking = blocking_steps(run, steps)
    names = {"resolve"} | _skipping(blocking, *UNSUCCESSFUL)
    if run.paused_at is not None:
        names.add("resume")
    if is_held(run, steps):
        return names | {"compensate"}
    if not is_undoing(steps) and not may_be_past_pivot(run, steps):
        names.add("compensate")
    if run.retry_count < MAX_RETRY_COUNT:
        names |= {"retry", "retry_step"} if len(blocking) == 1 else {"retry"}
    return names


def _pausing(run: SagaRun) -> set[str]:
    return {"pause"} if run.paused_at is None else {"resume"}


def _following_up(run: SagaRun, steps: list[StepRun]) -> set[str]:
    open_ends = [step for step in steps if not step.is_backward and is_open_end(run, step)]
    return {"retry_step", "skip_step"} if open_ends else set()


def _skipping(steps: list[StepRun], *states: StepState) -> set[str]:
    return {"skip_step"} if any(step.state in states for step in steps) else set()


def _answering(steps: Sequence[StepRun]) -> set[str]:
    waiting = any(step.state == StepState.WAITING for step in steps)
    return {"complete_step", "fail_step"} if waiting else set()
