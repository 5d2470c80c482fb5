"""What ``self`` is in a handler, and in a unit test that calls one."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest

from sagas import Saga, step
from sagas.definitions import RunInfo, StepHandle, StepOutcome, UndoneStep
from sagas.definitions.fake_invocation import FakeInvocation
from sagas.exceptions import ResultUnavailable, UnknownHandler
from sagas.states import StepState


pytestmark = pytest.mark.usefixtures("isolated_registry")


@dataclass(frozen=True)
class OrderInput:
    order_id: int


@pytest.fixture
def pay(isolated_registry: None) -> type["Pay"]:
    return Pay


class Pay(Saga[OrderInput]):
    class Meta:
        abstract = True

    @step
    def reserve(self) -> str:
        return f"{self.input.order_id}/{self.idempotency_key}/{self.attempt}"

    @reserve.compensation
    def release(self, reservation: str | None) -> None:
        self.set_tags(undone=f"{self.undoing.outcome}:{reservation}")

    @step
    def charge(self) -> str | None:
        return f"paid for {self.reserve.result}"

    charge.no_compensation("a test")


class TestUnitTest:
    def test_a_handler_is_an_ordinary_method(self) -> None:
        assert Pay(OrderInput(7)).reserve() == "7/rehearsed/1"

    def test_results_of_other_steps_are_given(self) -> None:
        assert Pay(OrderInput(7), results={"reserve": "it"}).charge() == "paid for it"

    def test_a_result_of_an_unknown_step_is_refused(self) -> None:
        with pytest.raises(UnknownHandler, match="has no step 'reverse'"):
            Pay(OrderInput(7), results={"reverse": "it"})

    def test_a_compensation_is_called_with_what_it_undoes(self) -> None:
        undone = UndoneStep(name="reserve", idempotency_key="k", outcome="unknown")
        Pay(OrderInput(7), undoing=undone).release(None)

    def test_the_run_is_that_of_a_rehearsal(self) -> None:
        run = Pay(OrderInput(7)).run
        assert (run.label, run.version, run.deadline) == ("tests.Pay", 1, None)


class TestOtherStep:
    def test_from_the_class_it_is_the_step_and_from_an_instance_its_view(self) -> None:
        assert Pay.reserve.name == "reserve"
        assert isinstance(Pay(OrderInput(7)).reserve, StepHandle)

    @pytest.mark.parametrize(
        "state", [StepState.PENDING, StepState.SKIPPED, StepState.FAILED, StepState.UNKNOWN]
    )
    def test_without_a_result_there_is_a_default_or_an_error(self, state: StepState) -> None:
        reserve = Pay(
            OrderInput(7), results={"reserve": StepOutcome(state=state, value=None)}
        ).reserve
        assert reserve.result_or("none") == "none"
        assert reserve.skipped is (state is StepState.SKIPPED)
        with pytest.raises(ResultUnavailable, match=f"step 'reserve' is {state}") as caught:
            _ = reserve.result
        assert (caught.value.step, caught.value.state) == ("reserve", state)

    def test_what_was_not_given_is_pending(self) -> None:
        assert Pay(OrderInput(7)).reserve.result_or(None) is None

    def test_none_is_a_result(self) -> None:
        charge = Pay(OrderInput(7), results={"charge": None}).charge
        assert charge.result is None
        assert charge.result_or("default") is None

    def test_what_was_undone_keeps_its_result(self) -> None:
        outcome = StepOutcome(state=StepState.COMPENSATED, value="it")
        assert Pay(OrderInput(7), results={"reserve": outcome}).reserve.result == "it"
        unknown = StepOutcome(state=StepState.COMPENSATED)
        assert Pay(OrderInput(7), results={"reserve": unknown}).reserve.result_or("-") == "-"


class TestInvocation:
    @pytest.fixture
    def invocation(self) -> FakeInvocation:
        run = RunInfo(
            id=UUID(int=7),
            label="shop.Pay",
            version=2,
            key="order-7",
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            failed_step="ship",
            error_code="PERMANENT",
            error="no truck",
        )
        undone = UndoneStep(name="reserve", idempotency_key="f", outcome="succeeded", result="it")
        return FakeInvocation(
            run=run,
            results={},
            undoing=undone,
            step_name="reserve",
            attempt=3,
            idempotency_key="k",
        )

    def test_self_answers_from_the_invocation(self, invocation: FakeInvocation) -> None:
        saga = Pay(OrderInput(7), invocation=invocation)
        assert (saga.attempt, saga.idempotency_key) == (3, "k")
        assert (saga.run.failed_step, saga.run.error) == ("ship", "no truck")
        assert saga.undoing.result == "it"

    def test_tags_go_to_the_invocation(self, invocation: FakeInvocation) -> None:
        Pay(OrderInput(7), invocation=invocation).release("it")
        assert invocation.tags == {"undone": "succeeded:it"}

    def test_going_forward_nothing_is_undone(self) -> None:
        with pytest.raises(ResultUnavailable, match="known in a compensation only"):
            _ = Pay(OrderInput(7)).undoing

    def test_the_logger_says_whose_words_these_are(
        self, invocation: FakeInvocation, caplog: pytest.LogCaptureFixture
    ) -> None:
        saga = Pay(OrderInput(7), invocation=invocation)
        with caplog.at_level(logging.INFO, logger="sagas.handlers"):
            saga.logger.info("reserved", extra={"sku": "tea"})
        facts = vars(caplog.records[0])
        assert facts["saga_id"] == str(UUID(int=7))
        assert (facts["saga_label"], facts["step"], facts["attempt"]) == ("shop.Pay", "reserve", 3)
        assert facts["sku"] == "tea"
