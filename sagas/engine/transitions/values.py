"""What the writers of state are given, and what they give back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sagas.models import SagaRun, StepRun


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """What is a run's own when it is inserted."""

    id: UUID
    step_ids: Sequence[UUID]
    """In the order of the plan."""
    key: str
    input: Any
    tags: Mapping[str, str]
    parent_step: UUID | None = None


InsertedRun = tuple[SagaRun, Sequence[StepRun]]
"""A run with its steps that are to be sent."""


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """Who makes an attempt: the Celery task and the process, as the row will name them."""

    task_id: str = ""
    worker: str = ""


@dataclass(frozen=True, kw_only=True)
class Succession:
    """What followed from a success."""

    ready: StepRun | None = None
    """To be sent."""

    taken: StepRun | None = None
    """Claimed in place."""
