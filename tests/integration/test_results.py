"""What handlers return is held to its annotation (R8)."""

from dataclasses import dataclass
from typing import Any

import pytest

from sagas import Saga, start_saga, step
from sagas.models import SagaRun
from sagas.states import SagaState, StepState
from tests.driving import drive, step_of


pytestmark = pytest.mark.django_db

UNDONE: list[object] = []


@dataclass(frozen=True)
class Answer:
    """What the step returns; the annotation below may forbid it."""

    value: Any


class Promising(Saga[Answer]):
    """A step that promises a number."""

    class Meta:
        label = "tests.Promising"
        step_defaults = {"max_retries": 3}

    @step
    def count(self) -> int:
        answer: int = self.input.value
        return answer

    @count.compensation
    def uncount(self, number: int | None) -> None:
        UNDONE.append(number)


def promised(value: object) -> SagaRun:
    UNDONE.clear()
    return drive(start_saga(Promising, Answer(value), key="k"))


class TestResults:
    def test_a_result_that_fits_is_stored(self) -> None:
        run = promised(7)
        assert run.state == SagaState.COMPLETED
        assert step_of(run, "count").output == 7

    @pytest.mark.parametrize("value", ["seven", None, 7.5, [7]])
    def test_a_result_that_does_not_fit_is_a_failed_attempt_with_a_clear_code(
        self, value: object
    ) -> None:
        row = step_of(promised(value), "count")
        assert row.error_code == "PAYLOAD"
        assert row.error.startswith("the result of count of tests.Promising is not a valid int")
        assert row.attempt == 1
        assert row.output is None

    def test_a_step_whose_result_does_not_fit_is_undone_without_a_result(self) -> None:
        run = promised("seven")
        assert run.state == SagaState.COMPENSATED
        assert step_of(run, "count").state == StepState.COMPENSATED
        assert UNDONE == [None]
