"""What an attempt's outcome makes of its step."""

from dataclasses import dataclass
from typing import Any

from celery.utils.time import get_exponential_backoff_interval

from sagas.definitions import StoredOptions
from sagas.engine.decisions.outcomes import Outcome
from sagas.states import EventType, StepState


MAX_RECONCILE_ATTEMPTS = 10
"""How often the outside system is asked whether an unknown step happened."""

_EVENTS = {
    StepState.READY: EventType.STEP_RETRYING,
    StepState.WAITING: EventType.STEP_WAITING,
    StepState.SUCCEEDED: EventType.STEP_SUCCEEDED,
    StepState.FAILED: EventType.STEP_FAILED,
    StepState.UNKNOWN: EventType.STEP_UNKNOWN,
    StepState.SKIPPED: EventType.STEP_SKIPPED,
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of the step. ``delay`` in seconds is set when it becomes ``ready`` again."""

    state: StepState
    in_doubt: bool = False
    delay: float = 0.0
    reconcile_attempts: int | None = None
    """How often ``reconcile`` was called, if the next attempt calls it instead of acting."""

    @property
    def is_reconciling(self) -> bool:
        """Whether the next attempt asks if the step happened."""
        return self.reconcile_attempts is not None

    @property
    def is_retry(self) -> bool:
        """Whether the next attempt acts once more."""
        return self.state == StepState.READY and not self.is_reconciling

    @property
    def event(self) -> EventType:
        """What tells of it."""
        return EventType.STEP_RECONCILING if self.is_reconciling else _EVENTS[self.state]

    def columns(self) -> dict[str, Any]:
        """Return what it leaves in the step's row, beside the state and when it is due."""
        columns: dict[str, Any] = {}
        if self.in_doubt or not self.is_retry:
            # A retry leaves what a late word may have put in doubt meanwhile.
            columns["in_doubt"] = self.in_doubt
        if self.is_reconciling:
            columns["reconcile_attempts"] = self.reconcile_attempts
        return columns


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Whether the outside system can be asked, and how often it was."""

    possible: bool = False
    """The step declares ``reconcile``."""

    attempts: int | None = None
    """How often it was called before, if the attempt that ended called it too; None: that one acted."""


def judge(
    outcome: Outcome,
    *,
    attempt: int,
    options: StoredOptions,
    in_doubt: bool,
    goes_on: bool,
    at_large: bool = False,
    reconciliation: Reconciliation = Reconciliation(),
) -> Verdict:
    """Decide what an attempt's outcome makes of its step.

    ``in_doubt``: an earlier attempt may have taken effect. Doubt stays until an attempt succeeds,
    because a later error need not come from the outside system. ``goes_on``: the run still goes
    in this step's direction; otherwise nothing is tried again or waited for, only asked.
    ``at_large``: an attempt that was given up may be alive, and act after whoever says now that
    nothing happened has looked: then nobody knows.
    """
    if outcome.ends_as is StepState.FAILED and at_large:
        return Verdict(state=StepState.UNKNOWN, in_doubt=True)
    if outcome.ends_as is not None:
        return Verdict(state=outcome.ends_as)
    if reconciliation.attempts is not None:
        return _reconcile_again(options, reconciliation.attempts)
    failure = outcome.failure
    if failure is None:
        in_doubt = in_doubt or outcome.leaves_doubt
        waits = Verdict(state=StepState.WAITING, in_doubt=in_doubt)
        given_up = retries_exhausted(in_doubt=in_doubt, reconciliation=reconciliation)
        return waits if goes_on else given_up
    in_doubt = in_doubt or failure.in_doubt
    if failure.retryable and goes_on and attempt <= options.max_retries:
        delay = 0.0 if failure.skip_backoff else retry_delay(options, attempt)
        return Verdict(state=StepState.READY, in_doubt=in_doubt, delay=delay)
    return retries_exhausted(in_doubt=in_doubt, reconciliation=reconciliation)


def retries_exhausted(*, in_doubt: bool, reconciliation: Reconciliation) -> Verdict:
    """Decide what becomes of a step that is not tried again."""
    if in_doubt and reconciliation.possible:
        return Verdict(state=StepState.READY, in_doubt=True, reconcile_attempts=0)
    return Verdict(state=StepState.UNKNOWN if in_doubt else StepState.FAILED, in_doubt=in_doubt)


def _reconcile_again(options: StoredOptions, before: int) -> Verdict:
    if before >= MAX_RECONCILE_ATTEMPTS:
        return Verdict(state=StepState.UNKNOWN, in_doubt=True)
    attempts = before + 1
    delay = retry_delay(options, attempts)
    return Verdict(state=StepState.READY, in_doubt=True, delay=delay, reconcile_attempts=attempts)


def retry_delay(options: StoredOptions, attempt: int) -> float:
    """Return the seconds to wait after attempt number ``attempt`` (from 1), as Celery computes them.

    ``retry_backoff`` is the seconds before the first retry (True: 1), doubled for each further
    one; without it every retry waits ``default_retry_delay``.
    """
    if not options.retry_backoff:
        return float(options.default_retry_delay)
    return float(
        get_exponential_backoff_interval(
            factor=int(options.retry_backoff),
            retries=attempt - 1,
            maximum=int(options.retry_backoff_max),
            full_jitter=options.retry_jitter,
        )
    )
