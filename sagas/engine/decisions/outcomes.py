"""What an attempt's outcome makes of its step, and a step's end of its run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from hashlib import sha256

from celery.utils.time import get_exponential_backoff_interval

from sagas.definitions import StepOptions
from sagas.states import Direction, SagaState, StepState


@dataclass(frozen=True, kw_only=True)
class Succeeded:
    """The handler returned; ``output`` is its result as JSON."""

    output: object


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """The step's condition said no."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The attempt ended otherwise.

    ``in_doubt``: the effect may have happened. ``retryable``: another attempt may help.
    ``skip_backoff``: without backoff, because noticing the failure took long enough. ``definite``: said
    by someone who knows that it did not happen, whatever was in doubt before. ``given_up``: not said by
    the attempt, which may be alive, and act.
    """

    code: str
    error: str
    retryable: bool = False
    in_doubt: bool = False
    skip_backoff: bool = False
    definite: bool = False
    given_up: bool = False


@dataclass(frozen=True, kw_only=True)
class DidNotHappen:
    """The outside system was asked, and says that it did not happen."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The handler leaves the step to an outside party, for ``timeout`` at most; ``note`` says to whom."""

    timeout: timedelta | None = None
    note: str = ""


Outcome = Succeeded | Skipped | Failed | DidNotHappen | Waiting

MAX_RECONCILE_ATTEMPTS = 10
"""How often the outside system is asked whether an unknown step happened."""


def retry_delay(options: StepOptions, attempt: int) -> float:
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
    options: StepOptions,
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
    known = _known(outcome)
    if known is StepState.FAILED and at_large:
        return Verdict(state=StepState.UNKNOWN, in_doubt=True)
    if known is not None:
        return Verdict(state=known)
    if reconciliation.attempts is not None:
        return _reconcile_again(options, reconciliation.attempts)
    if not isinstance(outcome, Failed):
        waits = Verdict(state=StepState.WAITING, in_doubt=True)
        return waits if goes_on else retries_exhausted(in_doubt=True, reconciliation=reconciliation)
    in_doubt = in_doubt or outcome.in_doubt
    if outcome.retryable and goes_on and attempt <= options.max_retries:
        delay = 0.0 if outcome.skip_backoff else retry_delay(options, attempt)
        return Verdict(state=StepState.READY, in_doubt=in_doubt, delay=delay)
    return retries_exhausted(in_doubt=in_doubt, reconciliation=reconciliation)


def _known(outcome: Outcome) -> StepState | None:
    """Return the end of a step of which nothing is in doubt, and nothing left to try."""
    if isinstance(outcome, Failed):
        return StepState.FAILED if outcome.definite else None
    return _ENDS.get(type(outcome))


_ENDS: Mapping[type, StepState] = {
    Succeeded: StepState.SUCCEEDED,
    Skipped: StepState.SKIPPED,
    DidNotHappen: StepState.FAILED,
}


def retries_exhausted(*, in_doubt: bool, reconciliation: Reconciliation) -> Verdict:
    """Decide what becomes of a step that is not tried again."""
    if in_doubt and reconciliation.possible:
        return Verdict(state=StepState.READY, in_doubt=True, reconcile_attempts=0)
    return Verdict(state=StepState.UNKNOWN if in_doubt else StepState.FAILED, in_doubt=in_doubt)


def _reconcile_again(options: StepOptions, before: int) -> Verdict:
    if before >= MAX_RECONCILE_ATTEMPTS:
        return Verdict(state=StepState.UNKNOWN, in_doubt=True)
    attempts = before + 1
    delay = retry_delay(options, attempts)
    return Verdict(state=StepState.READY, in_doubt=True, delay=delay, reconcile_attempts=attempts)


def with_attempt_count(failure: Failed, attempts: int) -> Failed:
    """Return a failure that is not tried again, and says so if it was: "failed after 3 attempts: …"."""
    if attempts == 1 or not failure.retryable:
        return failure
    return replace(failure, error=f"failed after {attempts} attempts: {failure.error}")


def fingerprint(label: str, step: str, code: str, error: str) -> str:
    """Return what equal failures share: numbers, ids and attempts do not tell them apart."""
    cause = re.sub(r"failed after \d+ attempts: ", "", error.lower())
    cause = re.sub(r"[0-9a-f-]{8,}|\d+", "#", cause)
    return sha256(f"{label}\n{step}\n{code}\n{cause}".encode()).hexdigest()[:16]


class Next(Enum):
    """What an ended step means for its run."""

    GO_ON = auto()
    """Release what follows; at the end of the way the run is done."""

    TURN_BACK = auto()
    """A critical step failed before the point of no return."""

    BEGIN_UNDO_WHEN_IDLE = auto()
    """The run is turning back already: undo as soon as nothing is in flight."""

    DEAD_LETTER = auto()
    """No way forward or back; a human decides."""

    NOTHING = auto()
    """The run stands still; the outcome is recorded and nothing moves."""


def after_step(  # noqa: PLR0913 each is one fact
    state: StepState,
    *,
    direction: Direction,
    critical: bool,
    pivot: bool,
    run_state: SagaState,
    pivot_passed: bool,
    continue_undoing: bool,
    hold_unknown: bool = False,
) -> Next:
    """Decide what a step that ended in ``state`` means for its run."""
    succeeded = state in {StepState.SUCCEEDED, StepState.SKIPPED}
    if direction == Direction.BACKWARD:
        goes_on = succeeded or continue_undoing
        standing = run_state != SagaState.COMPENSATING
        return Next.NOTHING if standing else Next.GO_ON if goes_on else Next.DEAD_LETTER
    if run_state == SagaState.COMPENSATING:
        return Next.BEGIN_UNDO_WHEN_IDLE
    if run_state != SagaState.RUNNING:
        return Next.NOTHING
    if succeeded or not critical:
        return Next.GO_ON
    no_way_back = pivot_passed or (state == StepState.UNKNOWN and (pivot or hold_unknown))
    return Next.DEAD_LETTER if no_way_back else Next.TURN_BACK
