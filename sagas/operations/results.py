"""The result of a step that no worker ran: from JSON, to JSON, and its type."""

from typing import Any

from sagas.engine.declared import definition_of
from sagas.exceptions import UnknownHandler, UnknownSaga
from sagas.models import SagaRun, StepRun
from sagas.operations.verbs import Refused
from sagas.payloads import Codec, annotation_name


def result_from_json(run: SagaRun, name: str, data: object) -> object:
    """Return the result of a step from plain JSON data, as :func:`~sagas.operations.skip_step` takes it.

    Raises:
        PayloadError: the data is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """
    return loaded_result(run, _row(run, name), data)


def loaded_result(run: SagaRun, step: StepRun, data: object) -> object:
    """Return the result of this row from plain JSON data, as :func:`result_from_json` does."""
    return _codec(run, step).load(data, what=f"the result of {step.name} of {run.label}")


def result_type(run: SagaRun, name: str) -> str:
    """Name the type of a step's result, for whoever is to type one in.

    Raises:
        UnknownSaga, UnknownHandler: this code cannot tell.
    """
    return annotation_name(_codec(run, _row(run, name)).annotation)


def has_no_result(step: StepRun) -> bool:
    """Whether nothing can be said of the result: it is a compensation's, or always None."""
    try:
        return step.is_backward or result_type(step.run, step.name) == "None"
    except (UnknownSaga, UnknownHandler):
        return False


def result_as_json(run: SagaRun, step: StepRun, result: object) -> object:
    """Return the result of a step as it is stored.

    Raises:
        PayloadError: it is not of the step's result type.
    """
    return _codec(run, step).dump(result, what=f"the result of {step.name} of {run.label}")


def is_same_result(run: SagaRun, step: StepRun, one: object, other: object) -> bool:
    """Whether two results of a step, as they are stored, mean the same."""
    return _codec(run, step).same(one, other)


def refuse_result_of_undo(step: StepRun, result: object) -> None:
    """A compensation returns nothing, so None is all that can be said of it."""
    if step.is_backward and result is not None:
        raise Refused("a compensation has no result")


def _row(run: SagaRun, name: str) -> StepRun:
    """Return the row of this name; one that the run has not is looked for in its saga."""
    rows = StepRun.objects.forward().filter(run_id=run.pk, name=name).only("name", "options")
    return rows.first() or StepRun(name=name)


def _codec(run: SagaRun, step: StepRun) -> Codec[Any]:
    return definition_of(run, step).result_codec
