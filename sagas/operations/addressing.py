"""Which row the name of a step means: a step and its compensation have one, and so may several."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from sagas.definitions import registry
from sagas.engine.declared import definition_of, name_today
from sagas.exceptions import UnknownHandler, UnknownSaga
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations.predicates import Steps, blocking_steps, is_held
from sagas.operations.verbs import Naming, Refused
from sagas.states import IN_FLIGHT_STEPS, OPEN_STEPS, Direction, EventType, StepState


def rows_by_name(run: SagaRun, steps: Steps) -> dict[str, StepRun]:
    """Return the row that the name of each step means, of which ``steps`` are all rows.

    Its compensation if it has one, unless the saga stands still because nobody knows whether the
    step itself happened.
    """
    rows = {step.name: step for step in sorted(steps, key=lambda step: step.is_backward)}
    if is_held(run, steps):
        rows |= {step.name: step for step in blocking_steps(run, steps)}
    return rows


def undo_of(name: str) -> str:
    """Return the name of its own that the compensation of the step ``name`` has."""
    return str(StepRun(name=name, direction=Direction.BACKWARD))


def _find_step(run: SagaRun, steps: Steps, name: str) -> StepRun:
    rows = rows_by_name(run, steps)
    if name not in rows:
        name = _in_rows(run, steps, name)
    if name not in rows:
        raise Refused(f"it has no such step; it has {', '.join(_names(steps))}")
    return rows[name]


def _find_present_step(_run: SagaRun, steps: Steps, name: str) -> StepRun:
    """Find a step itself, not its compensation, nor what an earlier life left of it."""
    rows = {step.name: step for step in steps if not (step.is_backward or step.is_past)}
    if name not in rows:
        raise Refused(f"it has no such step; it has {', '.join(rows)}")
    return rows[name]


def _find_row(run: SagaRun, steps: Steps, name: str) -> StepRun:
    """Find a step; or a compensation by its method, or as ``undo of b``; or either by its id.

    ``undo of b`` is the only name of its own where several steps are undone by one method. The name of a
    step means its compensation when that is what is left to answer: the step is known to have
    happened, and asked nobody.
    """
    rows = list(steps)
    backward = [row for row in rows if row.is_backward]
    for row in rows:
        if str(row.pk) == name:
            return row
    if name not in {str(row) for row in rows} | {row.handler for row in backward}:
        name = _in_rows(run, rows, name)
    for row in rows:
        if str(row) == name:
            return _or_its_compensation(row, backward)
    named = [row for row in backward if row.handler == name]
    if not named:
        known = dict.fromkeys([row.handler for row in rows] + [str(row) for row in backward])
        raise Refused(f"it has no such step; it has {', '.join(known)}")
    return _the_one_in_flight(named)


BY_STEP = Naming(
    find=_find_step,
    name_of=lambda step: step.name,
    help="its name, which stands for its compensation too",
)
BY_PRESENT_STEP = Naming(
    find=_find_present_step,
    name_of=lambda step: step.name,
    help="the name of a step that has begun",
)
BY_ROW = Naming(
    find=_find_row,
    name_of=str,
    help="its name, its compensation's, 'undo of NAME', or its id",
)


def _in_rows(run: SagaRun, steps: Steps, name: str) -> str:
    """Return what the rows call a step of that name: they keep the name that it had at their start."""
    with suppress(UnknownSaga):
        name = registry.get(run.label).definition.current_name(name)
    for row in steps:
        for now, then in () if row.is_past else _renamed(run, row):
            if name == now:
                return then
    return name


def _renamed(run: SagaRun, row: StepRun) -> Iterator[tuple[str, str]]:
    """Yield what this code calls a row, each with what the row itself says."""
    if not row.is_backward:
        yield name_today(run, row), row.name
        return
    yield f"undo of {name_today(run, row)}", str(row)
    with suppress(UnknownSaga, UnknownHandler):
        undo = definition_of(run, row).compensation
        yield undo.name if undo else "", row.handler


def _names(steps: Steps) -> list[str]:
    return [step.name for step in steps if not step.is_backward]


def _or_its_compensation(step: StepRun, backward: Sequence[StepRun]) -> StepRun:
    if step.is_backward or not step.happened:
        return step
    own = [row for row in backward if row.name == step.name and row.state in OPEN_STEPS]
    # An answer that comes twice must not be taken for one of the compensation.
    return own[0] if own and not _asked_somebody(step) else step


def _asked_somebody(step: StepRun) -> bool:
    asked = (EventType.STEP_WAITING, EventType.STEP_ANSWERED)
    return SagaEvent.objects.filter(step=step, type__in=asked).exists()


def _the_one_in_flight(named: Sequence[StepRun]) -> StepRun:
    """Return what an answer can be for, of compensations that are one method."""
    in_flight = [row for row in named if row.state in IN_FLIGHT_STEPS]
    possible = in_flight or [row for row in named if row.state == StepState.READY] or named
    if len(possible) > 1:
        names = " or ".join(repr(str(row)) for row in possible)
        which = "in flight" if in_flight else "at hand"
        raise Refused(f"{len(possible)} compensations of that name are {which}: say {names}")
    return possible[0]
