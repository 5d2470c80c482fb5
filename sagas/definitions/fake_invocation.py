"""A saga outside of a run: what handlers are told when a unit test calls them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sagas.definitions.invocation import RunInfo, StepOutcome, UndoneStep, refuse_repeated
from sagas.definitions.remote_task import RemoteTask
from sagas.exceptions import Wait
from sagas.states import StepState


REHEARSED_RUN_ID = UUID(int=0)


@dataclass(frozen=True, kw_only=True)
class FakeInvocation:
    """An invocation that no worker made. Tags that handlers set can be read from ``tags``."""

    run: RunInfo
    results: Mapping[str, object]
    """By step; a :class:`StepOutcome` stands for a step that was skipped or failed."""

    undoing: UndoneStep | None = None
    step_name: str = "rehearsed"
    attempt: int = 1
    idempotency_key: str = "rehearsed"
    answer_token: str = "rehearsed"  # noqa: S105 it opens nothing
    tags: dict[str, str] = field(default_factory=dict)
    last_heartbeat: Any = None
    heartbeats: list[Any] = field(default_factory=list)

    def approval_token(self, user_id: object, *, expires: timedelta) -> str:  # noqa: ARG002
        """Return a token that opens nothing."""
        return f"rehearsed-{user_id}"

    def outcome_of(self, step_name: str) -> StepOutcome:
        """Return what the test gave for this step; pending if it gave nothing."""
        if step_name not in self.results:
            refuse_repeated(step_name, len(self.outcomes_of(step_name)))
            return StepOutcome(state=StepState.PENDING)
        return _outcome(self.results[step_name])

    def outcomes_of(self, step_name: str) -> Sequence[StepOutcome]:
        """Return what the test gave for ``step_name``, or for ``step_name[...]``."""
        return [
            _outcome(given)
            for name, given in self.results.items()
            if name == step_name or name.startswith(f"{step_name}[")
        ]

    def call_remote(self, task: RemoteTask, arguments: object) -> Any:  # noqa: ARG002
        """Send nothing."""
        raise Wait(f"no worker asks {task.name} in a unit test")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keep the tags."""
        self.tags.update(tags)

    def heartbeat(self, details: Any) -> None:
        """Keep the details."""
        self.heartbeats.append(details)


def _outcome(given: object) -> StepOutcome:
    if isinstance(given, StepOutcome):
        return given
    return StepOutcome(state=StepState.SUCCEEDED, value=given)


def rehearsed_run(label: str, version: int) -> RunInfo:
    """Return the run of a saga instance that a test made."""
    return RunInfo(
        id=REHEARSED_RUN_ID,
        label=label,
        version=version,
        key="rehearsed",
        created_at=datetime.now(UTC),
    )
