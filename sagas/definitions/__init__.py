"""What a saga is made of, from the class body to what the engine runs.

``saga.py`` reads the body by way of ``meta.py`` and ``collect.py`` (which knows ``step.py`` and
``options.py``) into a :class:`SagaDefinition`, whose ``problems()`` are told by ``manage.py check``.
``plan.py`` is what its runs are inserted by; what of it a row keeps is a :class:`StepPlan` or
:class:`RunPlan`, which ``snapshot.py`` makes JSON; ``declaration_errors.py`` reads what a handler raises, and
``context.py`` is what ``self`` is in a handler. No models
and no Celery here.
"""

from sagas.definitions.approval import Approval
from sagas.definitions.child_run import ChildRun
from sagas.definitions.child_step import ChildStep, child
from sagas.definitions.context import ChildStepHandle, InputStepHandle, StepHandle
from sagas.definitions.decorator import step
from sagas.definitions.definition import SagaDefinition
from sagas.definitions.input_step import InputStep
from sagas.definitions.invocation import NO_VALUE, Invocation, RunInfo, StepOutcome, UndoneStep
from sagas.definitions.meta import RunPlan
from sagas.definitions.options import StepOptions, StepPlan, StoredOptions
from sagas.definitions.plan import Plan, PlannedStep
from sagas.definitions.problems import Problem
from sagas.definitions.registry import SagaRegistry
from sagas.definitions.remote_step import RemoteStep, remote
from sagas.definitions.remote_task import RemoteTask
from sagas.definitions.saga import Saga, registry
from sagas.definitions.step import Step
from sagas.definitions.step_definition import CompensationDefinition, StepDefinition
from sagas.definitions.yielded import PlanItem


__all__ = [
    "NO_VALUE",
    "Approval",
    "ChildRun",
    "ChildStep",
    "ChildStepHandle",
    "CompensationDefinition",
    "InputStep",
    "InputStepHandle",
    "Invocation",
    "Plan",
    "PlanItem",
    "PlannedStep",
    "Problem",
    "RemoteStep",
    "RemoteTask",
    "RunInfo",
    "RunPlan",
    "Saga",
    "SagaDefinition",
    "SagaRegistry",
    "Step",
    "StepDefinition",
    "StepHandle",
    "StepOptions",
    "StepOutcome",
    "StepPlan",
    "StoredOptions",
    "UndoneStep",
    "child",
    "registry",
    "remote",
    "step",
]
