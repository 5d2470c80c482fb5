"""The rows: a saga run, its steps, and the events that tell what happened to them.

Columns, constraints, indexes and QuerySet words. No verbs: :mod:`sagas.engine.transitions` is the only
writer of state.
"""

from sagas.models.events import SagaEvent
from sagas.models.records import IdempotencyRecord, SweepRecord
from sagas.models.runs import SagaRun, SagaRunQuerySet
from sagas.models.steps import Moment, StepRun, StepRunQuerySet


__all__ = [
    "IdempotencyRecord",
    "Moment",
    "SagaEvent",
    "SagaRun",
    "SagaRunQuerySet",
    "StepRun",
    "StepRunQuerySet",
    "SweepRecord",
]
