"""The package's own decisions, asked by what the model knows; answers are remembered."""

from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache

from sagas.definitions import StepOptions
from sagas.engine.decisions import (
    DidNotHappen,
    Failed,
    Next,
    Outcome,
    Place,
    Reconciliation,
    Skipped,
    Succeeded,
    Verdict,
    Waiting,
    after_step,
    judge,
    replan,
)
from sagas.engine.decisions import (
    undo_order as order_of_undoing,
)
from sagas.models import StepRun
from sagas.states import Direction, SagaState, StepState


class Told(Enum):
    """What is reported of an attempt."""

    SUCCEEDED = auto()
    SKIPPED = auto()
    REFUSED = auto()
    NO_ANSWER = auto()
    LOST = auto()
    BURIED = auto()
    """The attempt was lost, and its process is known to be dead."""
    ABSENT = auto()
    WAITS = auto()
    SILENCE = auto()
    """The wait for somebody outside ran out."""
    SILENCE_AGAIN = auto()
    """The same of a compensation, which asks once more."""
    DENIED = auto()
    """Somebody outside says that it did not happen."""


OUTCOMES: dict[Told, Outcome] = {
    Told.SUCCEEDED: Succeeded(output={"of": "model"}),
    Told.SKIPPED: Skipped(),
    Told.REFUSED: Failed(code="REFUSED", error="refused"),
    Told.NO_ANSWER: Failed(code="X", error="no answer", retryable=True, in_doubt=True),
    Told.LOST: Failed(code="LOST", error="lost", retryable=True, in_doubt=True, skip_backoff=True),
    Told.BURIED: Failed(
        code="LOST", error="lost", retryable=True, in_doubt=True, skip_backoff=True
    ),
    Told.ABSENT: DidNotHappen(),
    Told.WAITS: Waiting(),
    Told.SILENCE: Failed(code="SILENCE", error="no answer", in_doubt=True, skip_backoff=True),
    Told.SILENCE_AGAIN: Failed(
        code="SILENCE", error="no answer", retryable=True, in_doubt=True, skip_backoff=True
    ),
    Told.DENIED: Failed(code="DENIED", error="denied", definite=True),
}


@cache
def verdict(  # noqa: PLR0913, PLR0917
    told: Told,
    attempt: int,
    max_retries: int,
    in_doubt: bool,  # noqa: FBT001
    goes_on: bool,  # noqa: FBT001
    can_ask: bool,  # noqa: FBT001
    reconcile_attempts: int | None,
    at_large: bool,  # noqa: FBT001
) -> Verdict:
    """Ask :func:`sagas.engine.decisions.judge`."""
    return judge(
        OUTCOMES[told],
        attempt=attempt,
        options=StepOptions(max_retries=max_retries, retry_jitter=False),
        in_doubt=in_doubt,
        goes_on=goes_on,
        at_large=at_large,
        reconciliation=Reconciliation(possible=can_ask, attempts=reconcile_attempts),
    )


@cache
def following(  # noqa: PLR0913, PLR0917
    state: StepState,
    direction: Direction,
    critical: bool,  # noqa: FBT001
    is_irreversible: bool,  # noqa: FBT001
    run_state: SagaState,
    pivot_passed: bool,  # noqa: FBT001
    continue_undoing: bool,  # noqa: FBT001
    hold_unknown: bool,  # noqa: FBT001
) -> Next:
    """Ask :func:`sagas.engine.decisions.after_step`."""
    return after_step(
        state,
        direction=direction,
        critical=critical,
        is_irreversible=is_irreversible,
        run_state=run_state,
        pivot_passed=pivot_passed,
        continue_undoing=continue_undoing,
        hold_unknown=hold_unknown,
    )


@cache
def undo_order(successors: tuple[tuple[int, ...], ...], ended: tuple[int, ...]) -> tuple[int, ...]:
    """Ask :func:`sagas.engine.decisions.undo_order`."""
    steps = [
        StepRun(
            position=index,
            ended_at=datetime.fromtimestamp(ended[index], UTC) if ended[index] else None,
        )
        for index in range(len(ended))
    ]
    _link(steps, successors)
    return tuple(step.position for step in order_of_undoing(steps))


@cache
def places(
    successors: tuple[tuple[int, ...], ...],
    states: tuple[str, ...],
    critical: tuple[bool, ...],
    follow: tuple[bool, ...],
) -> dict[int, Place]:
    """Ask :func:`sagas.engine.decisions.replan`."""
    steps = [
        StepRun(position=index, state=state, critical=critical[index], detached=follow[index])
        for index, state in enumerate(states)
    ]
    _link(steps, successors)
    found = replan(steps)
    return {step.position: found[step.pk] for step in steps if step.pk in found}


def _link(steps: list[StepRun], successors: tuple[tuple[int, ...], ...]) -> None:
    for step, following_steps in zip(steps, successors, strict=True):
        step.successors = [str(steps[index].pk) for index in following_steps]
