"""What a saga is made of, from the class body to what the engine runs.

``saga.py`` reads the body by way of ``meta.py`` and ``collect.py`` (which knows ``step.py`` and
``options.py``) into a :class:`SagaDefinition`, whose ``problems()`` are told by ``manage.py check``.
``raising.py`` reads what a handler raises, and ``view.py`` is what ``self`` is in a handler. No models
and no Celery here.
"""

from sagas.definitions.definition import SagaDefinition
from sagas.definitions.invocation import NO_VALUE, Invocation, RunInfo, StepOutcome, UndoneStep
from sagas.definitions.options import StepOptions
from sagas.definitions.problems import Problem
from sagas.definitions.registry import SagaRegistry
from sagas.definitions.saga import Saga, registry
from sagas.definitions.step import Step, step
from sagas.definitions.step_definition import CompensationDefinition, StepDefinition
from sagas.definitions.view import StepView


__all__ = [
    "NO_VALUE",
    "CompensationDefinition",
    "Invocation",
    "Problem",
    "RunInfo",
    "Saga",
    "SagaDefinition",
    "SagaRegistry",
    "Step",
    "StepDefinition",
    "StepOptions",
    "StepOutcome",
    "StepView",
    "UndoneStep",
    "registry",
    "step",
]
