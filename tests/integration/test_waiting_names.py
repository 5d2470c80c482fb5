"""By which name an answer finds the compensation that it is for (R53)."""

from collections.abc import Callable
from functools import partial
from io import StringIO

import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from sagas import start_saga, step
from sagas.models import SagaRun, StepRun
from sagas.operations import complete_step, fail_step
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, states
from tests.traced import Receipt, Script, Traced
from tests.waits import answer, five, refused


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class Shared(Traced):
    """Two steps that one method undoes, which leaves it to others."""

    class Meta:
        label = "tests.Shared"

    @step
    def a(self) -> Receipt:
        return self.act("a")

    @step
    def b(self) -> Receipt:
        return self.act("b")

    @a.compensation
    @b.compensation
    def take_back(self, receipt: Receipt | None) -> None:
        self.undo("take_back", receipt)

    @step
    def c(self) -> Receipt:
        return self.act("c")

    c.no_compensation("it is the last")


def undoing() -> SagaRun:
    """The undoing of ``b`` waits, that of ``a`` comes after it."""
    run = start_saga(Shared, Script({"c": "permanent", "take_back": "wait"}), key="k")
    return drive(run)


def both_in_flight() -> SagaRun:
    run = undoing()
    ready = {"state": StepState.READY, "pending_predecessors": 0, "due_at": Now(), "send_at": Now()}
    StepRun.objects.backward().filter(run=run, name="a").update(**ready)
    run_one(run, "a")
    assert states(run, "backward") == {"a": "waiting", "b": "waiting"}
    return run


class TestOneMethodForTwoSteps:
    @pytest.mark.parametrize(
        "names", [("take_back", "take_back"), ("b", "a"), ("undo of b", "undo of a")]
    )
    def test_each_step_is_answered_in_its_turn(self, names: tuple[str, str]) -> None:
        run = undoing()
        complete_step(run, names[0], reason="they called")
        assert states(run)["b"] == StepState.COMPENSATED
        refused(lambda: complete_step(run, "undo of b", reason="again"), "undo of b is succeeded")
        drive(run)
        complete_step(run, names[1], reason="they called again")
        assert drive(run).state == SagaState.COMPENSATED

    def test_each_step_may_be_failed_in_its_turn(self) -> None:
        run = undoing()
        stuck = fail_step(run, "take_back", error="account closed", reason="the bank says")
        assert (stuck.state, stuck.compensation_error) == (
            "dead_letter",
            "take_back: account closed",
        )
        assert states(run, "backward")["b"] == StepState.FAILED

    @pytest.mark.parametrize("verb", [complete_step, partial(fail_step, error="no")])
    def test_when_both_wait_nobody_can_tell_which_is_meant(
        self, verb: Callable[..., SagaRun]
    ) -> None:
        run = both_in_flight()
        which = "2 compensations of that name are in flight: say 'undo of b' or 'undo of a'"
        refused(lambda: verb(run, "take_back", reason="they called"), which)
        verb(run, "undo of a", reason="they called")
        assert states(run, "backward")["b"] == StepState.WAITING
        assert states(run, "backward")["a"] != StepState.WAITING

    def test_a_step_that_runs_may_have_asked_already(self) -> None:
        run = undoing()
        ready = {
            "state": StepState.READY,
            "pending_predecessors": 0,
            "due_at": Now(),
            "send_at": Now(),
        }
        StepRun.objects.backward().filter(run=run, name="a").update(**ready)
        claimed(run, "a", "backward")
        refused(
            lambda: complete_step(run, "take_back", reason="x"), "say 'undo of b' or 'undo of a'"
        )

    def test_the_command_line_takes_the_same_names(self) -> None:
        run = undoing()
        for name in ("undo of b", "a"):
            told = StringIO()
            call_command(
                "saga", "complete-step", str(run.pk), name, "--reason", "they rang", stdout=told
            )
            assert told.getvalue() == "k: compensated\n" if name == "a" else "k: compensating\n"
            drive(run)
        assert fresh(run).state == SagaState.COMPENSATED


class TestAStepThatAskedItself:
    def test_does_not_pass_an_answer_that_comes_twice_to_its_compensation(self) -> None:
        run = five(b="wait", c="permanent", undo_b="wait")
        answer(run, "b")
        drive(run)
        assert states(run, "backward")["b"] == StepState.WAITING
        refused(lambda: answer(run, "b"), "b is succeeded since .* its compensation undo_b is")
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "its compensation undo_b is")

    def test_of_unknown_outcome_is_meant_itself(self) -> None:
        run = drive(five(b="unknown", undo_b="wait"))
        assert states(run, "backward")["b"] == StepState.WAITING
        refused(lambda: fail_step(run, "b", error="x", reason="x"), "b is unknown since")
        answer(run, "b")
        assert states(run)["b"] == StepState.SUCCEEDED

    def test_an_unknown_name_is_refused_with_the_names_that_there_are(self) -> None:
        run = undoing()
        known = "it has a, b, c, take_back, undo of b, undo of a"
        refused(lambda: complete_step(run, "d", reason="x"), known)
