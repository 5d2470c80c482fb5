"""The options of steps and compensations: what is accepted, and what is refused with the cure."""

from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from sagas import Saga, step
from sagas.definitions import RunPlan, StepOptions, StepPlan
from sagas.definitions.options import STEP_RULES, CeleryKeywords
from sagas.definitions.rules import CELERY_RULES
from sagas.definitions.step import StepKeywords
from sagas.exceptions import SagaDefinitionError


pytestmark = pytest.mark.usefixtures("isolated_registry")

# Lets a test write what a type checker would refuse.
unchecked_step: Any = step


def charge(self: Any) -> int:
    """Stand for a handler."""
    return 1


def refund(self: Any, result: int | None) -> None:
    """Stand for a compensation."""


class TestOptions:
    def test_without_any_the_library_decides(self) -> None:
        class Pay(Saga[int]):
            @step
            def charge(self) -> int:
                return 1

        declared = Pay.definition.step("charge")
        assert declared.options == StepOptions()
        assert (declared.pivot, declared.critical, declared.atomic) == (False, True, False)
        assert declared.owner == ""

    def test_a_steps_own_option_wins_over_the_sagas_default(self) -> None:
        class Pay(Saga[int]):
            class Meta:
                step_defaults = {"max_retries": 7, "queue": "bank", "atomic": True}

            @step(max_retries=0, owner="payments")
            def charge(self) -> int:
                return 1

        declared = Pay.definition.step("charge")
        assert (declared.options.max_retries, declared.options.queue) == (0, "bank")
        assert declared.atomic
        assert declared.owner == "payments"

    def test_a_compensation_has_options_of_its_own(self) -> None:
        class Pay(Saga[int]):
            class Meta:
                step_defaults = {"max_retries": 7, "queue": "bank"}

            @step(queue="fast", time_limit=10)
            def charge(self) -> int:
                return 1

            @charge.compensation(queue="slow", atomic=True, owner="payments")
            def refund(self, result: int | None) -> None: ...

        undo = Pay.definition.step("charge").compensation
        assert undo is not None
        assert (undo.name, undo.atomic, undo.owner) == ("refund", True, "payments")
        assert undo.options == StepOptions(max_retries=5, queue="slow")

    @pytest.mark.parametrize(
        ("option", "value", "complaint"),
        [
            ("max_retry", 1, "charge: unknown option 'max_retry'. Did you mean 'max_retries'?"),
            ("colour", 1, "charge: unknown option 'colour'. Known: atomic, autoretry_for"),
            ("max_concurrency", 1, "unknown option 'max_concurrency'"),
            ("heartbeat_timeout", 0, "a number of seconds greater than 0"),
            ("on_unknown", "ask", '"undo" or "hold"'),
            ("max_retries", None, "whole number, 0 or more .unlimited retries, None, are not"),
            ("max_retries", -1, "not -1"),
            ("max_retries", True, "not True"),
            ("max_retries", 1.0, "not 1.0"),
            ("queue", "", "a queue's name or None"),
            ("priority", 256, "from 0 to 255"),
            ("autoretry_for", (ValueError, "OSError"), "a tuple of exception classes"),
            ("autoretry_for", ValueError, "a tuple of exception classes"),
            ("dont_autoretry_for", (KeyboardInterrupt,), "a tuple of exception classes"),
            ("retry_backoff", 0, "True, False or a whole number of seconds"),
            ("retry_backoff_max", 0, "a number of seconds greater than 0"),
            ("retry_jitter", 1, "True or False"),
            ("default_retry_delay", -1, "0 or more"),
            ("time_limit", 0, "a number of seconds greater than 0"),
            ("time_limit", float("inf"), "a number of seconds greater than 0"),
            ("time_limit", "30", "a number of seconds greater than 0"),
            ("soft_time_limit", 0, "or None"),
            ("rate_limit", "50 per second", "a rate as Celery writes it"),
            ("rate_limit", "50/d", "a rate as Celery writes it"),
            ("pivot", "yes", "True or False"),
            ("critical", None, "True or False"),
            ("atomic", 1, "True or False"),
            ("owner", "", "a non-empty string"),
        ],
    )
    def test_a_wrong_option_is_refused_with_what_it_may_be(
        self, option: str, value: object, complaint: str
    ) -> None:
        with pytest.raises(SagaDefinitionError, match=complaint):
            unchecked_step(**{option: value})(charge)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("queue", None),
            ("priority", 9),
            ("autoretry_for", [ValueError]),
            ("retry_backoff", False),
            ("retry_backoff", 10),
            ("default_retry_delay", 0),
            ("time_limit", 0.5),
            ("rate_limit", "10/h"),
            ("rate_limit", None),
        ],
    )
    def test_an_option_that_celery_takes_is_taken(self, option: str, value: object) -> None:
        class Pay(Saga[int]):
            charge = unchecked_step(**{option: value})(charge)

        kept = getattr(Pay.definition.step("charge").options, option)
        assert kept == (tuple(value) if isinstance(value, list) else value)

    def test_a_number_as_rate_limit_is_per_second(self) -> None:
        class Pay(Saga[int]):
            charge = step(rate_limit=50)(charge)

        assert Pay.definition.step("charge").options.rate_limit == "50/s"

    def test_pivot_is_no_option_of_a_compensation(self) -> None:
        declared: Any = step(charge)
        with pytest.raises(SagaDefinitionError, match="refund: unknown option 'pivot'"):
            declared.compensation(pivot=True)(refund)

    def test_a_soft_limit_lies_below_the_hard_one(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"Pay.charge: soft_time_limit \(300 s\)"):

            class Pay(Saga[int]):
                @step(soft_time_limit=300)
                def charge(self) -> int:
                    return 1

    def test_a_pivot_is_critical(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"Pay.charge: a pivot is critical"):

            class Pay(Saga[int]):
                @step(pivot=True, critical=False)
                def charge(self) -> int:
                    return 1


class TestPlan:
    def test_a_row_keeps_what_differs_from_the_defaults(self) -> None:
        assert StepPlan().snapshot() == {}
        plan = StepPlan(queue="bank", max_retries=0, atomic=True, compensation={})
        snapshot = {"queue": "bank", "max_retries": 0, "atomic": True, "compensation": {}}
        assert plan.snapshot() == snapshot
        assert StepPlan.from_snapshot(snapshot) == plan

    def test_keys_of_another_version_are_ignored_and_missing_ones_have_their_default(self) -> None:
        assert StepPlan.from_snapshot({"autoretry_for": [], "new": 1}) == StepPlan()

    def test_a_row_keeps_what_was_declared_except_classes_and_what_has_a_column(self) -> None:
        class Pay(Saga[int]):
            @step(timeout=60, autoretry_for=(OSError,), rate_limit="5/s", owner="payments")
            def charge(self) -> int:
                return 1

            @charge.compensation(timeout=30, atomic=True)
            def refund(self, result: int | None) -> None: ...

            @charge.reconcile
            def find(self) -> int | None: ...

        (planned,) = Pay.definition.plan.steps
        plan = StepPlan(
            rate_limit="5/s",
            time_limit=60,
            owner="payments",
            reconcile=True,
            compensation=StepPlan(
                max_retries=5, time_limit=30, atomic=True, owner="payments"
            ).snapshot(),
            compensation_timeout=30,
        )
        assert planned.options == plan.snapshot()
        assert planned.timeout == timedelta(seconds=60)

    def test_an_option_of_celery_has_one_field_one_rule_and_one_keyword(self) -> None:
        declared = [field.name for field in fields(StepOptions)]
        assert set(CELERY_RULES) == set(declared) == set(CeleryKeywords.__annotations__)

    def test_an_option_of_ours_has_one_rule_one_keyword_and_a_field_or_a_column(self) -> None:
        ours = set(STEP_RULES) - set(CELERY_RULES)
        columns, of_code = {"pivot", "critical", "wait"}, {"formerly"}
        assert ours == set(StepKeywords.__annotations__) - set(CeleryKeywords.__annotations__)
        assert ours - columns - of_code < {field.name for field in fields(StepPlan)}


class TestRunPlan:
    def test_a_row_of_a_run_keeps_what_differs_from_the_defaults(self) -> None:
        plan = RunPlan(on_compensation_failure="continue", auto_retry=2)
        snapshot = {"on_compensation_failure": "continue", "auto_retry": 2}
        assert (RunPlan().snapshot(), plan.snapshot()) == ({}, snapshot)
        assert RunPlan.from_snapshot({**snapshot, "new": 1}) == plan


class TestRetries:
    def test_an_error_is_retried_if_it_is_named_and_not_spared(self) -> None:
        options = StepOptions(autoretry_for=(OSError,), dont_autoretry_for=(ConnectionError,))
        errors = (OSError, TimeoutError, ConnectionError, ConnectionResetError, ValueError)
        assert [error for error in errors if options.retries(error)] == [OSError, TimeoutError]
