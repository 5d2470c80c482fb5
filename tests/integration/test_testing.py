"""What users test their sagas with: failures at each step, and all of them (R111)."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.db import transaction
from django.test import TestCase

from sagas import OutcomeUnknown, start_saga, step
from sagas.engine import dispatch
from sagas.engine.publishing import Publisher
from sagas.exceptions import UnknownHandler
from sagas.models import SagaRun
from sagas.states import SagaState, StepState
from sagas.testing import (
    Crash,
    CrashPoint,
    assert_every_failure_is_undone,
    crash_points,
    fail_at,
    run_saga,
)
from tests.broker import publishing_to
from tests.driving import drive, states
from tests.traced import CALLS, Diamond, Five, Receipt, Script, Traced


pytestmark = pytest.mark.django_db

DIAMOND = [str(point) for point in crash_points(Diamond)]


def started() -> SagaRun:
    return start_saga(Five, Script(), key="k")


class TestRunSaga:
    def test_a_saga_runs_to_its_end_without_a_broker(self, messages: list[str]) -> None:
        assert run_saga(started()).state == SagaState.COMPLETED
        assert CALLS == ["a", "b", "c", "d", "e"]

    @pytest.mark.django_db(transaction=True)
    def test_outside_a_transaction_nothing_is_sent_either(self, messages: list[str]) -> None:
        run = started()
        sent = len(messages)
        assert run_saga(run).is_completed
        assert len(messages) == sent == 1

    def test_nobody_waits_for_a_retry(self) -> None:
        run = start_saga(Five, Script({"b": "once-network"}), key="k")
        assert run_saga(run).is_completed
        assert CALLS.count("b") == 2

    def test_a_saga_without_end_is_reported(self) -> None:
        with pytest.raises(AssertionError, match="still ready steps after 2 attempts"):
            run_saga(started(), limit=2)


class Listener:
    """A broker that counts who comes, and turns everybody away."""

    def __init__(self, server: socket.socket) -> None:
        self.url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        self._server = server

    def calls(self) -> int:
        """Return how many have connected since it was asked before."""
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._server.accept()[0].close()
                count += 1
        return count


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(dispatch, "_publisher", Publisher())
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        listener = Listener(server)
        with publishing_to(listener.url):
            yield listener


@pytest.mark.django_db(transaction=True)
class TestNothingIsPublished:
    """Steps side by side are sent by another door than a single one; a broker would hear of both."""

    def test_the_broker_is_called_outside_of_these_functions(self, broker: Listener) -> None:
        drive(start_saga(Diamond, Script(), key="k"))
        assert broker.calls() > 0

    @pytest.mark.parametrize("faults", [{}, {"d": "bug"}, {"b": "once-network"}])
    def test_by_a_run_with_steps_side_by_side(
        self, broker: Listener, faults: dict[str, str]
    ) -> None:
        with transaction.atomic(), dispatch.nothing_is_sent():
            run = start_saga(Diamond, Script(faults), key="k")
        assert run_saga(run).is_final
        assert broker.calls() == 0

    def test_by_callbacks_that_a_test_case_captures(self, broker: Listener) -> None:
        with TestCase.captureOnCommitCallbacks(execute=True), transaction.atomic():
            with dispatch.nothing_is_sent():
                run = start_saga(Diamond, Script(), key="k")
            execute = run_saga(run)
        assert execute.is_completed
        assert broker.calls() == 0

    def test_by_trying_every_failure(self, broker: Listener) -> None:
        def start(script: Script) -> SagaRun:
            return start_saga(Diamond, script, key="k")

        assert_every_failure_is_undone(Diamond, Script(), start=start)
        assert broker.calls() == 0


class TestFailAt:
    @pytest.mark.parametrize("step", ["c", Five.c])
    def test_a_step_fails_for_sure_and_the_saga_turns_back(self, step: str) -> None:
        with fail_at(Five, step) as failure:
            run = run_saga(started())
        assert (run.state, run.failed_step, run.error_code) == ("compensated", "c", "FAIL_AT")
        assert states(run)["c"] == StepState.FAILED
        assert CALLS == ["a", "b", "undo_b(b)", "undo_a(a)"]
        assert failure.times == 1

    def test_a_step_fails_after_its_effect_with_the_error_of_the_test(self) -> None:
        with fail_at(Five, "c", error=OutcomeUnknown("who knows"), after_effect=True):
            run = run_saga(started())
        assert (run.state, run.error) == ("compensated", "who knows")
        assert CALLS == ["a", "b", "c", "undo_c(None)", "undo_b(b)", "undo_a(a)"]

    def test_an_error_class_that_is_retried_strikes_as_often_as_it_is_told(self) -> None:
        with fail_at(Five, "c", error=ConnectionError, times=2) as failure:
            assert run_saga(started()).is_completed
        assert failure.times == 2

    @pytest.mark.parametrize("undo", ["undo_b", Five.undo_b])
    def test_a_compensation_fails(self, undo: str) -> None:
        with fail_at(Five, "c"), fail_at(Five, undo):
            run = run_saga(started())
        assert run.state == SagaState.DEAD_LETTER
        assert CALLS == ["a", "b"]

    def test_an_unknown_step_is_refused_and_the_known_ones_are_named(self) -> None:
        with pytest.raises(UnknownHandler, match="'pivott'; did you mean 'pivot'"):
            fail_at(Diamond, "pivott").__enter__()
        with pytest.raises(UnknownHandler, match="it has: a, undo_a, b, undo_b"):
            fail_at(Five, Diamond.pivot).__enter__()

    def test_the_saga_is_as_before_when_the_block_ends(self) -> None:
        declared = Five.definition
        with pytest.raises(ZeroDivisionError), fail_at(Five, "a"):
            raise ZeroDivisionError
        assert Five.definition is declared
        assert run_saga(started()).is_completed


class TestCrashPoints:
    def test_each_step_fails_before_and_after_its_effect_and_in_its_undoing(self) -> None:
        assert DIAMOND[:3] == [
            "start fails before its effect",
            "start fails after its effect",
            "start is undone after its compensation failed once",
        ]

    def test_behind_the_point_of_no_return_nothing_is_undone(self) -> None:
        assert [name for name in DIAMOND if name.startswith(("pivot", "ship", "tell"))] == [
            f"{step} fails {when} its effect"
            for step in ("pivot", "ship", "tell")
            for when in ("before", "after")
        ]

    @pytest.mark.parametrize(
        ("step", "crash", "ends"),
        [
            ("start", Crash.BEFORE_EFFECT, "compensated"),
            ("join", Crash.AFTER_EFFECT, "compensated"),
            ("right", Crash.UNDONE_TWICE, "compensated"),
            ("pivot", Crash.BEFORE_EFFECT, "compensated"),
            ("pivot", Crash.AFTER_EFFECT, "dead_letter"),
            ("ship", Crash.BEFORE_EFFECT, "dead_letter"),
            ("tell", Crash.BEFORE_EFFECT, "completed"),
        ],
    )
    def test_each_kind_of_crash_point_says_how_it_ends(
        self, step: str, crash: Crash, ends: str
    ) -> None:
        point = CrashPoint(saga=Diamond, step=step, crash=crash)
        with point.play(Script()) as played:
            assert (played.run.state, played.reached) == (ends, True)
        assert not SagaRun.objects.exists()

    def test_the_last_step_is_undone_by_a_revert(self) -> None:
        point = CrashPoint(saga=Five, step="e", crash=Crash.UNDONE_TWICE)
        with point.play(Script()) as played:
            assert played.run.is_compensated
        assert CALLS[5:7] == ["undo_e(e)", "undo_e(e)"]

    def test_a_step_that_is_skipped_is_not_reached(self) -> None:
        point = CrashPoint(saga=Diamond, step="right", crash=Crash.BEFORE_EFFECT)
        with point.play(Script({"wants_right": "no"})) as played:
            assert (played.run.state, played.reached) == ("completed", False)


class Trip(Traced):
    """Two steps that can both be undone, and both be left out."""

    class Meta:
        label = "tests.Trip"

    @step
    def hotel(self) -> Receipt:
        return self.act("hotel")

    @hotel.compensation
    def leave_hotel(self, receipt: Receipt | None) -> None:
        self.undo("leave_hotel", receipt)

    @hotel.condition
    def wants_hotel(self) -> bool:
        return "nothing" not in self.input.faults

    @step
    def flight(self) -> Receipt:
        return self.act("flight")

    @flight.compensation
    def leave_flight(self, receipt: Receipt | None) -> None:
        self.undo("leave_flight", receipt)

    @flight.condition
    def wants_flight(self) -> bool:
        return "nothing" not in self.input.faults


class Delivery(Traced):
    """Nothing can be undone once it is handed over."""

    class Meta:
        label = "tests.Delivery"

    @step(pivot=True)
    def hand_over(self) -> Receipt:
        return self.act("hand_over")

    @step
    def invoice(self) -> Receipt:
        return self.act("invoice")


class TestEveryFailure:
    def test_a_saga_that_undoes_what_it_does_passes(self) -> None:
        ends: list[str] = []
        assert_every_failure_is_undone(Trip, Script(), check=lambda run: ends.append(run.state))
        assert ends == ["compensated"] * 6

    def test_behind_the_pivot_the_saga_ends_when_it_is_retried(self) -> None:
        ends: list[str] = []
        assert_every_failure_is_undone(Delivery, Script(), check=lambda run: ends.append(run.state))
        assert ends == ["compensated", *["dead_letter", "completed"] * 3]

    def test_a_compensation_that_fails_for_good_is_found(self) -> None:
        with pytest.raises(AssertionError, match=r"flight fails before its effect: .*leave_hotel"):
            assert_every_failure_is_undone(Trip, Script({"leave_hotel": "permanent"}))

    def test_all_that_the_check_objects_to_is_told(self) -> None:
        def check(run: SagaRun) -> None:
            assert run.is_completed, "the stock is wrong"

        with pytest.raises(AssertionError) as found:
            assert_every_failure_is_undone(Trip, Script(), check=check)
        lines = str(found.value).splitlines()
        assert "hotel fails before its effect: compensated, but the stock is wrong" in lines[0]
        assert len([line for line in lines if "the stock is wrong" in line]) == 6

    def test_an_input_with_which_nothing_is_reached_is_no_success(self) -> None:
        with pytest.raises(AssertionError, match=r"no step of tests\.Trip was reached"):
            assert_every_failure_is_undone(Trip, Script({"nothing": "wanted"}))

    def test_another_saga_is_not_taken_for_this_one(self) -> None:
        with pytest.raises(ValueError, match=r"must start a new tests\.Trip"):
            assert_every_failure_is_undone(Trip, Script(), start=lambda _: started())


class TestInAPlainDjangoTestCase(TestCase):
    """No pytest in it: the fixtures of this module are not asked for."""

    def test_a_failure_is_undone(self) -> None:
        CALLS.clear()
        with fail_at(Five, "b"):
            run = run_saga(started())
        self.assertEqual(run.state, "compensated")  # noqa: PT009
        for point in crash_points(Trip):
            with self.subTest(str(point)), point.play(Script()) as played:
                self.assertTrue(played.reached)  # noqa: PT009

    @fail_at(Five, "a")
    def test_fail_at_works_as_a_decorator(self) -> None:
        self.assertEqual(run_saga(started()).failed_step, "a")  # noqa: PT009
