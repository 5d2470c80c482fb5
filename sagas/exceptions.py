"""Every error of this package. One root, a code each, and a message that says the cure."""

from datetime import timedelta
from typing import Any, ClassVar


class SagaError(Exception):
    """Root of all errors of this package.

    ``code`` is stable and stored in ``error_code`` columns. Keyword facts given at construction are
    attributes of the error (``error.run_id``, ``error.step`` ...) and stand in ``error.facts``.
    """

    code: ClassVar[str] = "SAGA_ERROR"

    def __init__(self, message: str = "", **facts: Any) -> None:
        """Keep ``message`` (default: the first line of the class docstring) and the facts."""
        first_line = (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        super().__init__(message or first_line)
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        """Answer for a fact given at construction."""
        facts: dict[str, Any] = self.__dict__.get("facts", {})
        try:
            return facts[name]
        except KeyError:
            message = f"{type(self).__name__} has no attribute or fact {name!r}"
            raise AttributeError(message) from None


# What a definition or the settings got wrong.


class SagaConfigurationError(SagaError):
    """The SAGAS setting is wrong; correct it in the Django settings."""

    code = "SAGA_CONFIGURATION"


class SagaDefinitionError(SagaError):
    """A saga is declared wrongly; the message names saga, step and cure."""

    code = "SAGA_DEFINITION"


class PlanError(SagaDefinitionError):
    """``plan()`` yields what cannot be a run of this saga; the message says what, and nothing is written.

    Facts: ``label``.
    """

    code = "PLAN"


class UnknownSaga(SagaError):
    """No saga has this label; declare it in ``<app>/sagas.py`` of an installed app."""

    code = "UNKNOWN_SAGA"


class UnknownHandler(SagaError):
    """The code that is deployed here has no handler for this step; deploy it, or cancel the saga."""

    code = "UNKNOWN_HANDLER"


class NewerVersion(SagaError):
    """The run was started by a newer ``Meta.version`` of its saga; a worker that has it goes on.

    Facts: ``version``, the run's.
    """

    code = "NEWER_VERSION"


# What a caller of start_saga() got wrong.


class IdempotencyRequired(SagaError):
    """A saga needs an idempotency key: pass ``key=`` to start_saga() or declare ``Meta.key``.

    Facts: ``location`` ("transaction" or "step") and, for a step, ``step``.
    """

    code = "IDEMPOTENCY_REQUIRED"


class SagaConflict(SagaError):
    """A saga with this label and key exists with another input; use another key.

    Facts: ``run_id``, ``label``, ``key``.
    """

    code = "SAGA_CONFLICT"


class PayloadError(SagaError):
    """A value does not fit its annotation, or cannot be stored as JSON."""

    code = "PAYLOAD"


class PayloadTooLarge(PayloadError):
    """A payload is larger than SAGAS["MAX_PAYLOAD_BYTES"]; store it elsewhere and pass a reference.

    Facts: ``size`` and ``limit``, in bytes.
    """

    code = "PAYLOAD_TOO_LARGE"


# What a handler may raise.


class PermanentError(SagaError):
    """The step definitely failed and a retry would not help: the saga turns back now.

    ``raise PermanentError("card declined", code="CARD_DECLINED")``
    """

    code = "PERMANENT"

    def __init__(self, message: str = "", *, code: str | None = None, **facts: Any) -> None:
        """Keep ``code``, which lands in ``run.error_code``."""
        super().__init__(message, **facts)
        if code is not None:
            self.code = code  # type: ignore[misc]  # the instance's own code shadows the class's


class FailureEvent(PermanentError):
    """A reaction definitely failed, and its failure is an event: the trace turns back now.

    ``raise FailureEvent("ShipmentFailed", ShipmentFailed(order_id=7), "no carrier")``; ``run.error_code``
    is then the event's name.
    """

    code = "FAILURE_EVENT"

    def __init__(
        self, event: str = "", data: object = None, message: str = "", **facts: Any
    ) -> None:
        """Keep ``event`` and what it carries; ``message`` says why, in words."""
        super().__init__(message, code=event or None, **facts)
        self.event = event
        self.data = data


class OutcomeUnknown(SagaError):
    """The step may or may not have happened; it is asked about or undone, never assumed."""

    code = "OUTCOME_UNKNOWN"


class SagaCancelled(SagaError):
    """The saga no longer wants this attempt: it turned back, or the attempt was given up. Stop now.

    Raised by ``self.heartbeat()``. What was done so far is in doubt, and the step is undone.
    """

    code = "SAGA_CANCELLED"


class AlreadyUndone(SagaError):
    """There is nothing to undo, or nothing any more: the compensation has succeeded.

    For a compensation, from wherever it finds out: ``except NotFound as e: raise AlreadyUndone from e``.
    """

    code = "ALREADY_UNDONE"


class Wait(SagaError):
    """An outside party completes this step; until then it waits in its row, and no worker does.

    ``raise Wait("the warehouse confirms", timeout=timedelta(days=2))`` after the request was sent.
    ``complete_step()`` and ``fail_step()`` end the wait. ``timeout``, seconds or a timedelta, counts
    from the raise; None is as long as the step and its saga may take.
    """

    code = "WAIT"

    def __init__(
        self, message: str = "", *, timeout: float | timedelta | None = None, **facts: Any
    ) -> None:
        """Keep ``timeout`` as a timedelta; below zero is zero, and ten years is the most."""
        super().__init__(message, **facts)
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self.timeout = None if seconds is None else timedelta(seconds=_bounded(seconds))


LONGEST_WAIT = timedelta(days=3650)


def _bounded(seconds: float) -> float:
    """Return a wait that the database can add to its clock: by now the request may be sent."""
    return min(max(0.0, seconds), LONGEST_WAIT.total_seconds())


class WaitInAtomicStep(SagaError):
    """A step with ``atomic=True`` cannot wait: nothing it did is committed. Take one of the two away."""

    code = "WAIT_IN_ATOMIC_STEP"


class EventsBeforeWait(SagaError):
    """A reaction that waits cannot publish before: nobody would hear of it. Publish in a reaction of its own."""

    code = "EVENTS_BEFORE_WAIT"


class TraceTooLong(SagaError):
    """A trace has too many steps, or too long a chain of them: its reactions publish in a circle."""

    code = "TRACE_TOO_LONG"


class TransactionLeftOpen(SagaError):
    """A handler must end the transactions that it begins; what it left open was rolled back."""

    code = "TRANSACTION_LEFT_OPEN"


class RequestNotSent(SagaError):
    """The broker did not take the message to a remote task; the step is tried again.

    Facts: ``in_doubt``: it may have taken it all the same.
    """

    code = "REQUEST_NOT_SENT"


class RemoteOutcomeUnknown(SagaError):
    """A remote task did not return, and nobody can read why: it failed, or its worker was lost.

    Name it in ``autoretry_for`` to have the task sent again after that.
    """

    code = "REMOTE_OUTCOME_UNKNOWN"


class ResultUnavailable(SagaError):
    """The step asked for has no result here; use ``.result_or(default)`` or check ``.skipped``.

    Facts: ``step``, ``state``.
    """

    code = "RESULT_UNAVAILABLE"


# What happened to a run.


class ExecutionTimeout(SagaError):
    """The saga ran past its deadline.

    Facts: ``run_id``, ``deadline_ms``, ``elapsed_ms``.
    """

    code = "EXECUTION_TIMEOUT"


class StepTimeout(SagaError):
    """A step ran past its time limit.

    Facts: ``step``, ``timeout_ms``.
    """

    code = "STEP_TIMEOUT"


class WorkerLost(SagaError):
    """The process that ran the step is gone: its lease ran out."""

    code = "WORKER_LOST"


class CompensationFailed(SagaError):
    """A compensation failed for good; fix the cause and retry the dead letter.

    Facts: ``run_id``, ``step``, ``original_error``, ``compensation_error``.
    """

    code = "COMPENSATION_FAILED"


class PivotPassed(SagaError):
    """The point of no return may have been passed, so nothing can be undone; a human decides."""

    code = "PIVOT_PASSED"


# What an operator asked for and cannot have.


class ActionNotAllowed(SagaError):
    """The saga's state does not allow this action.

    Facts: ``run_id``, ``action``, ``state``, ``allowed`` (the actions that it does allow).
    """

    code = "ACTION_NOT_ALLOWED"


class ActionNotPermitted(SagaError):
    """Whoever acts has not the permission that this step needs; nothing was changed.

    Facts: ``run_id``, ``action``, ``permission``, ``actor``.
    """

    code = "ACTION_NOT_PERMITTED"


class DeadLetterError(ActionNotAllowed):
    """The saga is a dead letter: retry it or its step, skip the step, compensate or resolve it.

    Facts: ``run_id``, ``stored_error``.
    """

    code = "DEAD_LETTER"


class RetryCapExceeded(ActionNotAllowed):
    """The dead letter was retried as often as allowed; resolve it by hand.

    Facts: ``run_id``, ``count``, ``max``.
    """

    code = "RETRY_CAP_EXCEEDED"


class TransactionLocked(SagaError):
    """Another transaction holds this saga, and nothing was changed; try again in a moment.

    Facts: ``run_id``, ``action``, ``waited_ms``.
    """

    code = "TRANSACTION_LOCKED"
