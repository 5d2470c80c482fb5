"""What it means that the lease of an attempt ran out: a worker is gone, or an outside party is mute."""

from datetime import timedelta

from sagas.durations import format_duration
from sagas.engine.decisions import Failed
from sagas.engine.declared import definition_of
from sagas.exceptions import SagaError, StepTimeout, UnknownHandler, UnknownSaga, WorkerLost
from sagas.models import StepRun
from sagas.states import StepState


def lost(step: StepRun) -> Failed:
    """Return the outcome of an attempt whose lease ran out."""
    if step.state == StepState.WAITING:
        return _wait_ran_out(step)
    error = _what_ended(step)
    # Nobody begins a handler whose input is not kept, not even an attempt that was given up.
    not_begun = step.plan.computes_input and not step.prepared
    # And a child is started by the transaction of the outcome.
    not_begun |= bool(step.plan.child)
    definitely_not = step.plan.atomic or not_begun
    is_dead = step.dead_fence == step.fence
    return Failed(
        code=error.code,
        error=str(error),
        retryable=True,
        in_doubt=not definitely_not,
        skip_backoff=True,
        given_up=not (definitely_not or step.is_reconciling or is_dead),
    )


def _what_ended(step: StepRun) -> SagaError:
    """Tell a process that died from a handler that hung until nobody renewed its lease."""
    limit = step.plan.time_limit
    if step.lease_until is None or step.started_at is None:
        return WorkerLost()
    if step.lease_until - step.started_at < timedelta(seconds=limit):
        return WorkerLost()
    message = f"the step ran past its time limit of {limit:g} s"
    return StepTimeout(message, step=step.name, timeout_ms=int(limit * 1000))


def _wait_ran_out(step: StepRun) -> Failed:
    """Nobody completed the step, and nobody knows whether it happened, unless by approving it.

    A compensation asks once more, as often as its ``max_retries`` say, because it must happen. A
    step does only if its ``autoretry_for`` names :class:`~sagas.exceptions.StepTimeout`.
    """
    within = ""
    if step.lease_until is not None and step.started_at is not None:
        within = f" within {format_duration(step.lease_until - step.started_at)}"
    return Failed(
        code=StepTimeout.code,
        error=f"nobody approved it{within}" if step.is_approval else f"no answer arrived{within}",
        retryable=step.is_backward or _retries_timeouts(step),
        in_doubt=not step.is_approval,
        skip_backoff=True,
        given_up=not (step.is_backward or step.is_approval),
    )


def _retries_timeouts(step: StepRun) -> bool:
    try:
        return definition_of(step.run, step).options.retries(StepTimeout)
    except (UnknownHandler, UnknownSaga):
        return False
