"""What is sent for an attempt: to a worker of ours, or of another code base."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import Signature


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What asks a worker for one attempt of one step."""

    task: str
    args: Sequence[Any]
    task_id: str
    """Names the step, its fence and the number of the send, so that none is there twice."""

    error_callback: Signature[Any]
    destination: dict[str, Any]
    headers: Callable[[], dict[str, str]]
    """Asked for when the message is sent."""

    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None
    """None: as the task is declared."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    callback: Signature[Any] | None = None
    serializer: str | None = None
    """None: ``CELERY_TASK_SERIALIZER``."""

    expires: float | None = None
    """Seconds after which no worker is to begin it."""
