"""When a run, and its children, stand still, and which of them needs a human."""

from sagas.models import SagaRun, StepRun
from sagas.states import ACTIVE_SAGAS, OPEN_STEPS, Direction, SagaState, StepState


def members(run: SagaRun) -> list[SagaRun]:
    """Return the run, and all children that it ever had, in the order in which they were started."""
    return [run, *run.children.order_by("created_at")]


def is_left_open(run: SagaRun) -> bool:
    """Whether a step of a completed run is still to end, for which it did not wait."""
    return run.state == SagaState.COMPLETED and run.steps.filter(state__in=OPEN_STEPS).exists()


def moves_on(run: SagaRun) -> bool:
    """Whether the run needs a worker or a sweep, now or later."""
    if run.owes_parent or is_left_open(run):
        return True
    return run.state in ACTIVE_SAGAS and not waits_for_a_human(run)


def waits_for_a_human(run: SagaRun) -> bool:
    """Whether nothing but a child that is a dead letter keeps it from going on."""
    if run.paused_at is not None or not run.children.filter(state=SagaState.DEAD_LETTER).exists():
        return False
    open_ones = StepRun.objects.filter(run_id=run.pk, state__in=OPEN_STEPS - {StepState.PENDING})
    if run.is_rewinding:  # what stands beside it goes on when that is over
        open_ones = open_ones.exclude(direction=Direction.FORWARD, state=StepState.READY)
    return set(open_ones.values_list("state", flat=True)) == {StepState.WAITING}


def dead_letters(run: SagaRun) -> list[SagaRun]:
    """Return those that need a human, the children first: their parent may wait for them."""
    return [each for each in reversed(members(run)) if each.state == SagaState.DEAD_LETTER]
