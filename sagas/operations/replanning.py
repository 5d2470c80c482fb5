"""Whether a corrected input makes the plan that a run has already: a rewind keeps the steps of the run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagas.definitions import Plan, SagaDefinition, StepPlan
from sagas.engine.declared import definition_of, name_today
from sagas.exceptions import PayloadError, SagaDefinitionError
from sagas.models import SagaRun, StepRun
from sagas.operations.verbs import Refused
from sagas.payloads import truncate_error


SHOWN = 3
"""How many names a refusal says."""

_CURE = "start a saga of its own"


def inputs_anew(
    run: SagaRun, definition: SagaDefinition, value: object, steps: Iterable[StepRun]
) -> dict[str, Any]:
    """Return what ``plan()`` binds to steps otherwise than before, for the saga's input ``value``.

    By row id, as JSON data. ``steps`` are all rows of the run; empty for a saga without a ``plan()``.

    Raises:
        Refused: there is no plan for that input, or it is another one than the run has.
    """
    if not definition.has_plan:
        return {}
    plan = _plan_for(definition, value)
    rows = [row for row in steps if not (row.is_past or row.is_backward)]
    names = {str(row.pk): name_today(run, row) for row in rows}
    _require_same_names([step.name for step in plan.steps], [*names.values()])
    planned = {step.name: step for step in plan.steps}
    after, before = _followers(plan), _followers_in_rows(rows, names)
    by_name = {names[str(row.pk)]: row for row in rows}
    differ = [
        name
        for name, row in by_name.items()
        if _moved(row, planned[name].plan, run) or after[name] != before[name]
    ]
    if differ:
        raise Refused(f"that input makes another plan, at {_listed(differ)}: {_CURE}")
    return {
        str(row.pk): planned[name].input
        for name, row in by_name.items()
        if _differs(run, row, planned[name].input)
    }


def require_same_inputs(stand: Iterable[StepRun], anew: Mapping[str, Any]) -> None:
    """Refuse an input by which a step that stands would have been given something else."""
    names = [row.name for row in stand if str(row.pk) in anew]
    if names:
        changed = f"that input gives another input to {_listed(names)}, which would stand"
        raise Refused(f"{changed}: rewind to that step, or to one before it")


def _plan_for(definition: SagaDefinition, value: object) -> Plan:
    try:
        return definition.plan_for(value)
    except (SagaDefinitionError, PayloadError) as error:
        raise Refused(f"that input makes no plan: {truncate_error(str(error))}") from error
    except Exception as error:
        why = truncate_error(f"{type(error).__name__}: {error}")
        raise Refused(f"that input makes no plan: plan() raised {why}") from error


def _require_same_names(planned: Sequence[str], present: Sequence[str]) -> None:
    added, gone = set(planned) - set(present), set(present) - set(planned)
    said = [
        f"{word} {_listed([name for name in names if name in among])}"
        for word, names, among in (("with", planned, added), ("without", present, gone))
        if among
    ]
    if said:
        raise Refused(f"that input makes another plan, {' and '.join(said)}: {_CURE}")


def _followers(plan: Plan) -> dict[str, set[str]]:
    return {step.name: {plan.steps[place].name for place in step.successors} for step in plan.steps}


def _followers_in_rows(rows: Iterable[StepRun], names: Mapping[str, str]) -> dict[str, set[str]]:
    return {names[str(row.pk)]: {names[pk] for pk in row.successors} for row in rows}


def _moved(row: StepRun, plan: StepPlan, run: SagaRun) -> bool:
    """Whether another saga declares it now, or it is given an input in another way."""
    saga = row.plan.saga or run.label
    return (plan.saga or run.label, plan.bound) != (saga, row.plan.bound)


def _differs(run: SagaRun, row: StepRun, value: Any) -> bool:
    if not row.plan.bound or value == row.input:
        return False
    return not definition_of(run, row).input_codec.same(row.input, value)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
