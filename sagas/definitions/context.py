"""What ``self`` is in a handler: the saga seen from one attempt of one step."""

import logging
from collections.abc import Callable, MutableMapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar, cast

from sagas.definitions.child_run import ChildRun
from sagas.definitions.invocation import Invocation, RunInfo, StepOutcome, UndoneStep
from sagas.definitions.remote_task import RemoteTask
from sagas.definitions.tokens import address_of, answer_url
from sagas.exceptions import ResultUnavailable
from sagas.states import OPEN_STEPS, StepState


I = TypeVar("I")  # noqa: E741 the input's type
R_co = TypeVar("R_co", covariant=True)
A_contra = TypeVar("A_contra", contravariant=True)
A = TypeVar("A")
D = TypeVar("D")


class HasKey(Protocol):
    """A user of the project."""

    @property
    def pk(self) -> Any:
        """Its primary key."""


class SagaContext(Generic[I]):
    """The attributes that every handler can read."""

    input: I
    """What the saga was started with."""

    def __init__(self, saga_input: I, invocation: Invocation) -> None:
        """Look at ``invocation`` for everything but the input."""
        self.input = saga_input
        self._invocation = invocation

    @property
    def run(self) -> RunInfo:
        """The run: its id, label, key, deadline and, in a compensation, why it turned back."""
        return self._invocation.run

    @property
    def attempt(self) -> int:
        """Which attempt of this step this is, from 1."""
        return self._invocation.attempt

    @property
    def idempotency_key(self) -> str:
        """The same over all attempts of this step; give it to every outside party."""
        return self._invocation.idempotency_key

    @property
    def answer_token(self) -> str:
        """Lets who has it answer what this attempt asks for, before or after ``raise Wait``, and once.

        It is signed, holds no secret, and is of no more use when the step has ended or asks anew.
        """
        return self._invocation.answer_token

    def answer_url(self) -> str:
        """Return the address where the token is answered by a webhook (``docs/waiting.md``).

        A path, or with ``SAGAS["BASE_URL"]`` a whole address.

        Raises:
            SagaConfigurationError: the project does not include ``sagas.urls``.
        """
        return answer_url(self.answer_token)

    def approval_url(self, user: "HasKey", *, expires: timedelta = timedelta(days=7)) -> str:
        """Return a link by which ``user`` decides the :class:`~sagas.Approval` that is raised next.

        It needs no login: mail it to that person alone. It is good for this request and until
        ``expires``, and the permission is looked up when it is used.

        Raises:
            SagaConfigurationError: the project does not include ``sagas.urls``.
        """
        token = self._invocation.approval_token(user.pk, expires=expires)
        return address_of("sagas:approval", token)

    @property
    def undoing(self) -> UndoneStep:
        """The step being undone.

        Raises:
            ResultUnavailable: this is no compensation.
        """
        undone = self._invocation.undoing
        if undone is None:
            message = "self.undoing is known in a compensation only, and this is not one"
            raise ResultUnavailable(message, step=self._invocation.step_name, state="")
        return undone

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger whose records carry ``saga_id``, ``saga_label``, ``step`` and ``attempt``."""
        run = self.run
        facts = {
            "saga_id": str(run.id),
            "saga_label": run.label,
            "step": self._invocation.step_name,
            "attempt": self.attempt,
        }
        return _HandlerLogger(logging.getLogger("sagas.handlers"), facts)

    def set_tags(self, **tags: str) -> None:
        """Add to what operators search this run by, or replace.

        In a transaction of yours, or an ``atomic`` step, this locks the run until it ends: call it last.
        """
        self._invocation.set_tags(tags)

    @property
    def last_heartbeat(self) -> Any:
        """What the attempt before this one said last, to go on from; None at the first."""
        return self._invocation.last_heartbeat

    def heartbeat(self, details: Any = None) -> None:
        """Show that this attempt goes on, and keep ``details`` (JSON data) for the next one.

        Written at most once a second, so call it as often as you like. In a transaction of yours
        ``details`` are kept when it commits, and in an ``atomic`` step not at all, for what they tell
        of would be rolled back with it; that the attempt lives is written at once, by another
        connection (SQLite has one writer at a time, and nothing is written there until you commit).

        Raises:
            SagaCancelled: the saga turned back or gave this attempt up, or it is past its
                ``time_limit``; stop, and let it through.
            PayloadError: the details cannot be stored as JSON.
        """
        self._invocation.heartbeat(details)

    def call_remote(self, task: RemoteTask, arguments: object) -> Any:
        """Have another code base do it; the handlers of remote steps do this. Never returns in a run.

        Raises:
            Wait: it was sent, and its answer ends the wait.
            RequestNotSent: the broker did not take it.
        """
        return self._invocation.call_remote(task, arguments)

    def outcome_of(self, step_name: str) -> StepOutcome:
        """Return what is known of another step; ``self.<step>`` says the same with types.

        Raises:
            ResultUnavailable: the plan of this run repeats it.
        """
        return self._invocation.outcome_of(step_name)

    def outcomes_of(self, step_name: str) -> Sequence[StepOutcome]:
        """Return what is known of each repetition of a step, in the order of the plan."""
        return self._invocation.outcomes_of(step_name)


class StepHandle(Generic[R_co]):
    """``self.<step>``: another step of the run, seen from a handler."""

    def __init__(self, saga: SagaContext[Any], name: str, handler: Callable[..., R_co]) -> None:
        """Look at the step ``name`` of ``saga``."""
        self._saga = saga
        self._name = name
        self._handler = handler

    def __call__(self) -> R_co:
        """Run the step's body here and now, as a unit test does; nothing is recorded."""
        return self._handler(self._saga)

    @property
    def result(self) -> R_co:
        """What the step returned.

        Raises:
            ResultUnavailable: it was skipped, failed, or is not done.
        """
        outcome = self._outcome
        if not outcome.has_value:
            message = (
                f"step {self._name!r} is {outcome.state} and has no result here;"
                " use .result_or(default), or name it in after= to wait for it"
            )
            raise ResultUnavailable(message, step=self._name, state=str(outcome.state))
        return cast("R_co", outcome.value)

    def result_or(self, default: D) -> R_co | D:
        """Return what the step returned, or ``default`` when there is no result."""
        outcome = self._outcome
        return cast("R_co", outcome.value) if outcome.has_value else default

    @property
    def skipped(self) -> bool:
        """Whether its condition said no."""
        return self._outcome.state == StepState.SKIPPED

    @property
    def _outcome(self) -> StepOutcome:
        return self._saga.outcome_of(self._name)


class InputStepHandle(StepHandle[R_co], Generic[A_contra, R_co]):
    """``self.<step>`` of a step that takes an input."""

    def __call__(self, value: A_contra, /) -> R_co:  # type: ignore[override]  # it takes its input
        """Run the step's body here and now, as a unit test does; nothing is recorded."""
        return self._handler(self._saga, value)

    @property
    def results(self) -> list[R_co]:
        """What each repetition of the step returned, in the order of the plan.

        One that was skipped, or that failed as a best-effort step, has no result and is left out.

        Raises:
            ResultUnavailable: one of them is not done.
        """
        outcomes = self._saga.outcomes_of(self._name)
        for outcome in outcomes:
            if outcome.state in OPEN_STEPS:
                message = (
                    f"a repetition of {self._name!r} is {outcome.state}; name the step in after= to"
                    " wait for all of them"
                )
                raise ResultUnavailable(message, step=self._name, state=str(outcome.state))
        return [cast("R_co", outcome.value) for outcome in outcomes if outcome.has_value]


class RemoteStepHandle(StepHandle[R_co], Generic[A, R_co]):
    """``self.<step>`` of a step that another code base does."""

    def __init__(self, saga: SagaContext[Any], name: str, method: Callable[..., A]) -> None:
        """Look at the step ``name`` of ``saga``; ``method`` returns the arguments."""
        super().__init__(saga, name, method)  # type: ignore[arg-type]  # it is called as below
        self._method = method

    def __call__(self) -> A:  # type: ignore[override]  # the result is not made here
        """Return the arguments that the task would be given, as a unit test wants; nothing is sent."""
        return self._method(self._saga)


class ChildStepHandle(StepHandle[ChildRun], Generic[A]):
    """``self.<step>`` of a step that is a saga of its own."""

    def __call__(self) -> A:  # type: ignore[override]  # the body returns the child's input
        """Return the child's input, as a unit test asks for it; nothing is started."""
        return cast("A", self._handler(self._saga))


class _HandlerLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the facts to the ``extra`` of a call, which the standard adapter replaces."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}
