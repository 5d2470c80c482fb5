"""What a row runs: the saga that declares it, and which of its steps.

The name of a row is its own in its run. That of the declared step is another where a plan repeats a
step, and so is its saga where a plan takes in the steps of another one.
"""

from typing import Any

from sagas.definitions import Saga, StepDefinition, registry
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
