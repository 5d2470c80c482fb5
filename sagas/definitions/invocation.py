"""What a handler is told about the run it works for; the engine answers, or a unit test does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from sagas.definitions.remote_task import RemoteTask
from sagas.exceptions import ResultUnavailable
from sagas.states import HAPPENED, StepState


class _NoValue(Enum):
    NO_VALUE = "no value"


NO_VALUE: Final = _NoValue.NO_VALUE
"""Stands for "there is no result", which None cannot: a handler may return None."""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The run as its handlers see it, at the time of the attempt."""

    id: UUID
    label: str
    version: int
    key: str
    created_at: datetime
    deadline: datetime | None = None
    failed_step: str = ""
    """Why the saga turned back, as are ``error_code`` and ``error``. Empty while it goes forward."""

    error_code: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What is known of another step of the run."""

    state: StepState
    value: object = NO_VALUE
    """The typed result of a step that succeeded, whether or not it was undone since."""

    @property
    def has_value(self) -> bool:
        """Whether there is a result to read."""
        return self.state in HAPPENED and self.value is not NO_VALUE


@dataclass(frozen=True, kw_only=True)
class UndoneStep:
    """The step that a compensation undoes."""

    name: str
    idempotency_key: str
    """The key that the step's own handler had, over all its attempts."""

    outcome: Literal["succeeded", "unknown"]
    result: object | None = None
    """None when the outcome is unknown, or when the step returned None."""

    input: Any = None
    """What the step was given, if it takes an input; None also when it had not been computed."""


def refuse_repeated(step_name: str, repetitions: int) -> None:
    """Refuse to speak of a step as one, of which a run has several.

    Raises:
        ResultUnavailable: it has.
    """
    if repetitions:
        message = f"step {step_name!r} is repeated in this run; ask self.{step_name}.results"
        raise ResultUnavailable(message, step=step_name, state="")


class Invocation(Protocol):
    """One attempt of one step."""

    @property
    def run(self) -> RunInfo:
        """The run."""

    @property
    def step_name(self) -> str:
        """The step that is run or undone."""

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""

    @property
    def idempotency_key(self) -> str:
        """The same over all attempts; a compensation has its own."""

    @property
    def answer_token(self) -> str:
        """What lets an outside party answer what this attempt asks of it."""

    def approval_token(self, user_id: object, *, expires: timedelta) -> str:
        """Return what lets one user decide what this attempt asks for."""

    @property
    def undoing(self) -> UndoneStep | None:
        """The step being undone; None on the way forward."""

    def outcome_of(self, step_name: str) -> StepOutcome:
        """Return what is known of a step of this run.

        Raises:
            ResultUnavailable: it is repeated there.
        """

    def outcomes_of(self, step_name: str) -> Sequence[StepOutcome]:
        """Return what is known of each repetition of a step, in the order of the plan."""

    @property
    def last_heartbeat(self) -> Any:
        """What the attempt before said in its last heartbeat, as JSON data; None if nothing."""

    def call_remote(self, task: RemoteTask, arguments: object) -> Any:
        """Have another code base do it.

        Raises:
            Wait: it was sent.
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add to the run's tags."""

    def heartbeat(self, details: Any) -> None:
        """Show that the attempt goes on.

        Raises:
            SagaCancelled: it should not.
        """
