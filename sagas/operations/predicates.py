"""What the rules of the verbs ask of a run and its steps. Nothing in here changes anything."""

from collections.abc import Iterable, Iterator

from sagas.conf import MAX_RETRY_COUNT
from sagas.engine import compensate, retry_dead_letter
from sagas.models import SagaRun, StepRun
from sagas.states import CLOSED_SAGAS, UNSUCCESSFUL_STEPS, SagaState, StepState


Steps = Iterable[StepRun]
"""All rows of one run, which may be read more than once. As a QuerySet they cost nothing until a rule
looks at them, and one query however many do."""

_COLUMNS = (
    "run_id",
    "name",
    "handler",
    "compensation",
    "direction",
    "state",
    "critical",
    "pivot",
    "in_doubt",
    "attempt",
    "successors",
    "options",
    "rewind",
    "wait",
)


def steps_of(run: SagaRun) -> Steps:
    """Return the steps of a run without their payloads. They are read when somebody looks at them."""
    return StepRun.objects.filter(run_id=run.pk).only(*_COLUMNS)


def is_over(run: SagaRun) -> bool:
    """Whether nothing of it will run any more. A saga that completed may still be reverted."""
    return run.state in CLOSED_SAGAS


def is_open_end(run: SagaRun, step: StepRun) -> bool:
    """Whether a step ended without success, or its saga completed without it."""
    left_out = step.state == StepState.CANCELLED and run.state == SagaState.COMPLETED
    return step.state in UNSUCCESSFUL_STEPS or left_out


def blocking_steps(run: SagaRun, steps: Steps) -> list[StepRun]:
    """Return the steps because of which a dead letter cannot go on."""
    if not retry_dead_letter.is_turned(run, steps):
        present = [step for step in steps if not step.is_past]
        return [step for step in present if step.critical and step.state in UNSUCCESSFUL_STEPS]
    backward = [step for step in steps if step.is_backward and step.state in UNSUCCESSFUL_STEPS]
    return compensate.held(_forward(steps)) or backward


def is_held(run: SagaRun, steps: Steps) -> bool:
    """Whether a dead letter would undo, if a human said of its unknown steps whether they happened."""
    return (
        run.state == SagaState.DEAD_LETTER
        and retry_dead_letter.is_turned(run, steps)
        and bool(compensate.held(_forward(steps)))
    )


def child_refusal(step: StepRun) -> str:
    """Refuse to say how a step ends that is a saga of its own: that saga says it."""
    return f"{step} is the saga {step.plan.child}, one of its children: cancel or resolve that"


def is_undoing(steps: Steps) -> bool:
    """Whether its compensations are planned already."""
    return any(step.is_backward and not step.is_past for step in steps)


def retries_spent(run: SagaRun) -> str | None:
    """Say that a dead letter was retried as often as allowed; None while it was not."""
    if run.retry_count < MAX_RETRY_COUNT:
        return None
    return f"it was retried {run.retry_count} of {MAX_RETRY_COUNT} times: resolve it by hand"


def _forward(steps: Steps) -> Iterator[StepRun]:
    return (step for step in steps if not step.is_backward)
