"""Which row an answer is for: a step and its compensation may both wait for somebody, one after the other."""

from collections.abc import Sequence

from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations.allowed import refuse
from sagas.states import IN_FLIGHT_STEPS, EventType, StepState


_STILL_TO_END = IN_FLIGHT_STEPS | {StepState.READY}


def addressed(run: SagaRun, name: str, action: str) -> StepRun:
    """Return the row that ``name`` means; refuse where nobody could tell.

    That is a step; or a compensation, by its method, or as ``undo of b``, which also is its own
    where several steps are undone by one method. The name of a step means its compensation when
    that is what is left to answer: the step is known to have happened, and asked nobody.
    """
    found = _found(run, name, action)
    return StepRun.objects.get(pk=found.pk)


def _found(run: SagaRun, name: str, action: str) -> StepRun:
    of_run = StepRun.objects.filter(run_id=run.pk)
    rows = list(of_run.defer("input", "output", "options", "error"))
    backward = [row for row in rows if row.is_backward]
    for row in rows:
        if str(row) == name:
            return _or_its_compensation(row, backward)
    named = [row for row in backward if row.handler == name]
    if not named:
        known = dict.fromkeys([row.handler for row in rows] + [str(row) for row in backward])
        refuse(run, action, f"it has no such step; it has {', '.join(known)}")
    return _the_one_in_flight(run, named, action)


def _or_its_compensation(step: StepRun, backward: Sequence[StepRun]) -> StepRun:
    if step.is_backward or not step.happened:
        return step
    own = [row for row in backward if row.name == step.name and row.state in _STILL_TO_END]
    # An answer that comes twice must not be taken for one of the compensation.
    return own[0] if own and not _asked_somebody(step) else step


def _asked_somebody(step: StepRun) -> bool:
    asked = (EventType.STEP_WAITING, EventType.STEP_ANSWERED)
    return SagaEvent.objects.filter(step=step, type__in=asked).exists()


def _the_one_in_flight(run: SagaRun, named: Sequence[StepRun], action: str) -> StepRun:
    """Return what an answer can be for, of compensations that are one method."""
    in_flight = [row for row in named if row.state in IN_FLIGHT_STEPS]
    possible = in_flight or [row for row in named if row.state == StepState.READY] or named
    if len(possible) > 1:
        names = " or ".join(repr(str(row)) for row in possible)
        which = "in flight" if in_flight else "at hand"
        refuse(run, action, f"{len(possible)} compensations of that name are {which}: say {names}")
    return possible[0]
