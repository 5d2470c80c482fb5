"""A step that is undone only until another has succeeded (R49)."""

from collections.abc import Callable
from functools import partial

import pytest

from sagas import start_saga, step
from sagas.engine import recover
from sagas.engine.decisions import Succeeded
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    preview_compensation,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, won
from tests.traced import CALLS, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class Kept(Traced):
    """hold → pay, refunded until it is confirmed → confirm → tell."""

    class Meta:
        label = "tests.Kept"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def hold(self) -> Receipt:
        return self.act("hold")

    @hold.compensation
    def undo_hold(self, receipt: Receipt | None) -> None:
        self.undo("undo_hold", receipt)

    @step(compensable_until="confirm", critical=False)
    def pay(self) -> Receipt:
        return self.act("pay")

    @pay.compensation
    def undo_pay(self, receipt: Receipt | None) -> None:
        self.undo("undo_pay", receipt)

    @step
    def confirm(self) -> Receipt:
        return self.act("confirm")

    @confirm.compensation
    def undo_confirm(self, receipt: Receipt | None) -> None:
        self.undo("undo_confirm", receipt)

    @step
    def tell(self) -> Receipt:
        return self.act("tell")

    tell.no_compensation("nothing is told twice")


def kept(**faults: str) -> SagaRun:
    return start_saga(Kept, Script(faults), key="k")


def test_a_step_is_undone_before_its_limit_is_reached() -> None:
    run = drive(kept(confirm="permanent"))
    assert run.state == SagaState.COMPENSATED
    assert CALLS[-2:] == ["undo_pay(pay)", "undo_hold(hold)"]


def test_a_step_stays_after_its_limit_was_reached_and_all_others_are_undone() -> None:
    run = drive(kept(tell="permanent"))
    assert run.state == SagaState.COMPENSATED
    assert CALLS[-2:] == ["undo_confirm(confirm)", "undo_hold(hold)"]
    assert states(run)["pay"] == StepState.SUCCEEDED
    assert not run.steps.backward().filter(name="pay").exists()


def test_a_step_is_undone_when_nobody_knows_whether_its_limit_was_reached() -> None:
    run = drive(kept(confirm="unknown"))
    assert run.state == SagaState.COMPENSATED
    assert CALLS[-3:] == ["undo_confirm(None)", "undo_pay(pay)", "undo_hold(hold)"]


def test_the_preview_of_a_compensation_leaves_out_a_step_that_is_kept() -> None:
    run = kept()
    for _ in range(2):
        run_one(run)
    assert [planned.name for planned in preview_compensation(run)] == ["pay", "hold"]
    run_one(run)
    planned = [undo.name for undo in preview_compensation(run)]
    assert planned == ["confirm", "hold"]
    cancel_saga(run, reason="changed their mind")
    assert drive(run).state == SagaState.CANCELLED
    assert CALLS[3:] == ["undo_confirm(confirm)", "undo_hold(hold)"]


def test_a_completed_saga_is_reverted_without_a_step_that_is_kept() -> None:
    run = drive(kept())
    assert run.state == SagaState.COMPLETED
    compensate_saga(run, reason="returned", revert_completed=True)
    assert drive(run).state == SagaState.COMPENSATED
    assert "undo_pay(pay)" not in CALLS


def test_a_late_success_of_a_step_that_is_kept_is_not_undone_either() -> None:
    run = kept(tell="permanent")
    run_one(run)
    slow = claimed(run, "pay")
    expire_lease(slow.pk)
    for _ in range(2):
        give_up(run)
    drive(run)
    assert fresh(run).state == SagaState.COMPENSATED
    assert not won(slow, Succeeded(output={"of": "pay"}))
    assert drive(run).state == SagaState.COMPENSATED
    assert not any(call.startswith("undo_pay") for call in CALLS)
    assert states(run)["pay"] == StepState.SUCCEEDED


def give_up(run: SagaRun) -> None:
    """Let an attempt to pay be lost, if one is under way or can be made."""
    recover.sweep()
    row = run.steps.get(name="pay", direction="forward")
    if row.state == StepState.READY:
        expire_lease(claimed(run, "pay").pk)
        recover.sweep()


def test_a_run_keeps_the_limit_that_its_plan_said() -> None:
    assert kept().steps.get(name="pay").options["compensable_until"] == "confirm"


class TestADeadLetterOfAStepThatIsKept:
    """Paying could not be undone; then the slow attempt to confirm tells that it did."""

    def stuck(self, **faults: str) -> tuple[SagaRun, StepRun]:
        run = kept(undo_pay="permanent", **faults)
        for name in ("hold", "pay"):
            run_one(run, name)
        StepRun.objects.filter(run=run, name="confirm").update(options={"max_retries": 0})
        slow = claimed(run, "confirm")
        expire_lease(slow.pk)
        recover.sweep()
        stuck = drive(run)
        assert (stuck.state, stuck.compensation_error) == (
            SagaState.DEAD_LETTER,
            "undo_pay: undo_pay refused",
        )
        assert not won(slow, Succeeded(output={"of": "confirm"}))
        assert states(run)["confirm"] == StepState.SUCCEEDED
        CALLS.clear()
        return fresh(run), slow

    @pytest.mark.parametrize("verb", [retry_saga, partial(retry_step, name="pay")])
    def test_when_retried_keeps_the_step_and_undoes_the_rest(
        self, verb: Callable[..., SagaRun]
    ) -> None:
        run, _ = self.stuck()
        verb(run, reason="it was confirmed")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_confirm(confirm)", "undo_hold(hold)"]
        assert states(run)["pay"] == StepState.SUCCEEDED

    def test_can_be_settled_by_hand_as_well(self) -> None:
        run, _ = self.stuck()
        skip_step(run, "pay", reason="it was confirmed")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_confirm(confirm)", "undo_hold(hold)"]

    def test_is_explained_truthfully(self) -> None:
        run, _ = self.stuck()
        planned = [undo.name for undo in preview_compensation(run)]
        retry_saga(run, reason="it was confirmed")
        drive(run)
        assert [call.split("(")[0] for call in CALLS] == [f"undo_{name}" for name in planned]
