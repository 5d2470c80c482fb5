"""What a row runs: the saga that declares it, and which of its steps.

The name of a row is its own in its run. That of the declared step is another where a plan repeats a
step, and so is its saga where a plan takes in the steps of another one.
"""

from typing import Any

from sagas.definitions import Saga, StepDefinition, registry
from sagas.exceptions import NewerVersion, UnknownHandler, UnknownSaga
from sagas.models import SagaRun, StepRun


def saga_of(run: SagaRun, step: StepRun) -> type[Saga[Any]]:
    """Return the saga that declares what a row of ``run`` runs.

    Raises:
        UnknownSaga: this code does not have it.
    """
    return registry.get(step.plan.saga or run.label)


def definition_of(run: SagaRun, step: StepRun) -> StepDefinition:
    """Return the declared step that a row of ``run`` runs, or whose compensation it is.

    Raises:
        UnknownSaga, UnknownHandler: this code does not have it.
    """
    return saga_of(run, step).definition.step(step.declared)


def load_input(run: SagaRun, step: StepRun) -> Any:
    """Return the input of ``run`` as the saga sees it that declares what the row runs.

    Raises:
        PayloadError: it does not fit the type that this code has, or ``migrate()`` raised.
        UnknownSaga: this code does not have the saga.
    """
    own = registry.get(run.label).definition
    data, version = run.input_of(step)
    if step.plan.saga in {"", run.label}:
        return own.load_input(data, version=version)
    migrated = own.migrated(data, version=version)
    return saga_of(run, step).definition.input_codec.load(
        migrated, what=f"the input of {run.label}"
    )


def name_today(run: SagaRun, step: StepRun) -> str:
    """Return what this code calls a row of ``run``: a row keeps the name that it was planned by."""
    name = step.present_name
    if step.plan.declared not in {"", name}:
        return name
    try:
        return definition_of(run, step).name
    except (UnknownSaga, UnknownHandler):
        return name


def refuse_newer(run: SagaRun) -> None:
    """Refuse a run that newer code has started: what that means by its rows is not known here.

    Raises:
        NewerVersion: its version is above that of this code.
        UnknownSaga: this code does not have its saga.
    """
    if run.version == 1:  # than which no code is older
        return
    definition = registry.get(run.label).definition
    if run.version > definition.version:
        message = (
            f"the run was started by version {run.version} of {run.label}, and this code is"
            f" version {definition.version}; a worker that has it goes on"
        )
        raise NewerVersion(message, version=run.version)
