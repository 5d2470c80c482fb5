"""Errors have one root, a stable code, a message that says the cure, and facts to act on."""

import inspect
import pickle
from datetime import timedelta

import pytest

from sagas import exceptions
from sagas.exceptions import PermanentError, SagaError


ALL_ERRORS = [
    error
    for _, error in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(error, SagaError)
]

STABLE_CODES = {
    "EXECUTION_TIMEOUT": exceptions.ExecutionTimeout,
    "IDEMPOTENCY_REQUIRED": exceptions.IdempotencyRequired,
    "COMPENSATION_FAILED": exceptions.CompensationFailed,
    "RETRY_CAP_EXCEEDED": exceptions.RetryCapExceeded,
    "DEAD_LETTER": exceptions.DeadLetterError,
    "TRANSACTION_LOCKED": exceptions.TransactionLocked,
    "STEP_TIMEOUT": exceptions.StepTimeout,
    "ACTION_NOT_ALLOWED": exceptions.ActionNotAllowed,
    "ALREADY_UNDONE": exceptions.AlreadyUndone,
    "SAGA_CONFIGURATION": exceptions.SagaConfigurationError,
    "SAGA_DEFINITION": exceptions.SagaDefinitionError,
    "UNKNOWN_HANDLER": exceptions.UnknownHandler,
    "SAGA_CONFLICT": exceptions.SagaConflict,
    "OUTCOME_UNKNOWN": exceptions.OutcomeUnknown,
    "PAYLOAD": exceptions.PayloadError,
    "PAYLOAD_TOO_LARGE": exceptions.PayloadTooLarge,
    "PERMANENT": exceptions.PermanentError,
    "PIVOT_PASSED": exceptions.PivotPassed,
    "RESULT_UNAVAILABLE": exceptions.ResultUnavailable,
    "SAGA_ERROR": exceptions.SagaError,
    "UNKNOWN_SAGA": exceptions.UnknownSaga,
    "WAIT": exceptions.Wait,
    "WAIT_IN_ATOMIC_STEP": exceptions.WaitInAtomicStep,
    "WORKER_LOST": exceptions.WorkerLost,
}

FACTS = {
    exceptions.ExecutionTimeout: {"run_id": "r", "deadline_ms": 900_000, "elapsed_ms": 900_001},
    exceptions.IdempotencyRequired: {"location": "step", "step": "process_payment"},
    exceptions.CompensationFailed: {
        "run_id": "r",
        "step": "process_payment",
        "original_error": "fraud",
        "compensation_error": "bank is closed",
    },
    exceptions.RetryCapExceeded: {"run_id": "r", "count": 10, "max": 10},
    exceptions.DeadLetterError: {"run_id": "r", "stored_error": "bank is closed"},
    exceptions.TransactionLocked: {"run_id": "r", "action": "cancel", "waited_ms": 5000},
    exceptions.StepTimeout: {"step": "process_payment", "timeout_ms": 300_000},
    exceptions.SagaConflict: {"run_id": "r", "label": "shop.FulfilOrder", "key": "order-7"},
    exceptions.PayloadTooLarge: {"size": 300_000, "limit": 262_144},
}


class TestCodes:
    @pytest.mark.parametrize(("code", "error"), STABLE_CODES.items())
    def test_a_code_is_stable(self, code: str, error: type[SagaError]) -> None:
        assert error.code == code
        assert error().code == code

    @pytest.mark.parametrize("code", STABLE_CODES)
    def test_a_code_fits_its_column(self, code: str) -> None:
        assert len(code) <= 100

    def test_no_two_errors_share_a_code(self) -> None:
        codes = [error.code for error in ALL_ERRORS]
        assert len(set(codes)) == len(codes)

    def test_a_permanent_error_has_the_code_of_whoever_raises_it(self) -> None:
        assert PermanentError("declined", code="CARD_DECLINED").code == "CARD_DECLINED"
        assert PermanentError("declined").code == "PERMANENT"


class TestMessages:
    @pytest.mark.parametrize("error", ALL_ERRORS)
    def test_the_docstring_is_the_default_message(self, error: type[SagaError]) -> None:
        assert str(error()) == (error.__doc__ or "").strip().splitlines()[0]

    def test_a_message_that_is_given_replaces_the_docstring(self) -> None:
        assert str(exceptions.UnknownSaga("no saga is labelled 'x'")) == "no saga is labelled 'x'"


class TestFacts:
    @pytest.mark.parametrize(("error", "facts"), FACTS.items())
    def test_facts_are_attributes(self, error: type[SagaError], facts: dict[str, object]) -> None:
        raised = error("it failed", **facts)
        assert raised.facts == facts
        assert {name: getattr(raised, name) for name in facts} == facts

    def test_a_fact_that_was_not_given_is_no_attribute(self) -> None:
        with pytest.raises(
            AttributeError, match="TransactionLocked has no attribute or fact 'step'"
        ):
            _ = exceptions.TransactionLocked().step

    def test_an_error_survives_pickling_without_its_class_being_touched(self) -> None:
        copy = pickle.loads(pickle.dumps(exceptions.StepTimeout("late")))  # noqa: S301 our own
        assert str(copy) == "late"

    def test_dead_letter_and_retry_cap_are_actions_not_allowed(self) -> None:
        assert issubclass(exceptions.DeadLetterError, exceptions.ActionNotAllowed)
        assert issubclass(exceptions.RetryCapExceeded, exceptions.ActionNotAllowed)


class TestWait:
    @pytest.mark.parametrize(
        ("timeout", "expected"),
        [
            (None, None),
            (90, timedelta(seconds=90)),
            (0.5, timedelta(seconds=0.5)),
            (timedelta(days=2), timedelta(days=2)),
            (timedelta(seconds=-5), timedelta(0)),
            (float("nan"), timedelta(0)),
            (float("inf"), timedelta(days=3650)),
            (timedelta.max, timedelta(days=3650)),
        ],
    )
    def test_the_timeout_is_one_that_the_database_can_add_to_its_clock(
        self, timeout: float | timedelta | None, expected: timedelta | None
    ) -> None:
        assert exceptions.Wait(timeout=timeout).timeout == expected
