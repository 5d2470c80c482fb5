"""What a step that is a saga of its own returns."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ChildRun:
    """The run of a child saga: the result of the step that started it."""

    id: UUID
    """``SagaRun.objects.get(pk=...)`` is the run."""

    key: str
    """Its idempotency key, which the engine chose."""
