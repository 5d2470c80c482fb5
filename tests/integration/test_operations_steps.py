"""Retrying and skipping one step by hand (R50, R77)."""

from collections.abc import Callable
from typing import Any

import pytest

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.transitions import claim
from sagas.exceptions import ActionNotAllowed, PayloadError, RetryCapExceeded
from sagas.models import SagaRun
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    result_from_json,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, everything, fresh, ready_steps, run_one, states, step_of
from tests.mild import Mild
from tests.traced import CALLS, Diamond, Five, Receipt, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def mild(**faults: str) -> SagaRun:
    return start_saga(Mild, Script(faults), key="mild")


def diamond(**faults: str) -> SagaRun:
    return start_saga(Diamond, Script(faults), key="diamond")


def stuck_on_its_way_back() -> SagaRun:
    return drive(start_saga(Five, Script({"d": "permanent", "undo_b": "permanent"}), key="back"))


def repair(run: SagaRun) -> None:
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
    CALLS.clear()


def refused(verb: Callable[..., SagaRun], run: SagaRun, name: str, why: str) -> None:
    before = everything()
    with pytest.raises(ActionNotAllowed, match=why) as caught:
        verb(run, name, reason="asked for")
    assert caught.value.state == fresh(run).state
    assert everything() == before


class TestRetryOfABestEffortStep:
    def test_runs_after_the_saga_completed_and_the_warning_goes(self, messages: list[str]) -> None:
        run = drive(mild(tell="permanent"))
        assert run.has_warnings
        repair(run)
        messages.clear()
        again = retry_step(run, "tell", reason="mail works again", actor="ann")
        assert again.state == SagaState.COMPLETED
        assert messages == ["sagas.tests.Mild.tell"]
        ended = drive(run)
        assert CALLS == ["tell"]
        assert (ended.state, ended.has_warnings) == (SagaState.COMPLETED, False)
        assert ended.completed_at == run.completed_at
        event = run.events.get(type=EventType.STEP_RETRIED)
        assert (event.actor, event.note, event.step) == (
            "ann",
            "mail works again",
            step_of(run, "tell"),
        )

    def test_does_not_run_again_what_followed_the_step(self) -> None:
        run = mild(note="permanent")
        run_one(run)
        run_one(run)
        repair(run)
        retry_step(run, "note", reason="again")
        run = drive(run)
        assert sorted(CALLS) == ["b after note", "note", "tell"]
        assert (run.state, run.has_warnings) == (SagaState.COMPLETED, False)
        assert set(states(run).values()) == {StepState.SUCCEEDED}

    def test_may_fail_again_and_be_done_again_with_the_same_key(self) -> None:
        run = drive(mild(tell="network"))
        key = step_of(run, "tell").idempotency_key
        for _ in range(2):
            CALLS.clear()
            retry_step(run, "tell", reason="again")
            assert drive(run).has_warnings
            assert CALLS == ["tell", "tell"]
        assert step_of(run, "tell").idempotency_key == key

    def test_is_undone_after_it_ended_if_the_saga_turns_back_meanwhile(self) -> None:
        run = drive(mild(tell="permanent"))
        repair(run)
        retry_step(run, "tell", reason="again")
        row = ready_steps(run)[0]
        attempt = claim(row.pk, row.fence, task_id="", worker="")
        assert attempt is not None
        compensate_saga(run, reason="returned", revert_completed=True)
        assert not run.steps.backward().exists()
        record_outcome(attempt, Succeeded(output={"of": "tell"}))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_tell(tell)", "undo_b(b after note)", "undo_note(note)", "undo_a(a)"]

    def test_is_cancelled_when_the_saga_turns_back_before_it_began(self) -> None:
        run = drive(mild(tell="permanent"))
        repair(run)
        retry_step(run, "tell", reason="again")
        compensate_saga(run, reason="returned", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED
        assert "undo_tell(None)" not in CALLS
        assert states(run)["tell"] == StepState.CANCELLED

    def test_lets_a_dead_letter_be_retried_while_it_is_under_way(self) -> None:
        run = diamond(tell="permanent", ship="permanent")
        run = drive(run)
        assert run.state == SagaState.DEAD_LETTER
        skip_step(run, "ship", result=Receipt("by hand"), reason="shipped by hand")
        run = drive(run)
        assert (run.state, run.has_warnings) == (SagaState.COMPLETED, True)


class TestRetryOfADeadLettersStep:
    def test_goes_on_from_that_step_and_counts_as_a_retry(self) -> None:
        run = drive(diamond(ship="permanent"))
        repair(run)
        again = retry_step(run, "ship", reason="carrier is back", actor="ann")
        assert (again.state, again.retry_count) == (SagaState.RUNNING, 1)
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["ship", "tell"]

    def test_goes_on_from_that_compensation_on_the_way_back(self) -> None:
        run = stuck_on_its_way_back()
        repair(run)
        assert retry_step(run, "b", reason="fixed").state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_b(b)", "undo_a(a)"]

    def test_is_refused_at_the_cap_of_retries(self) -> None:
        run = drive(diamond(ship="permanent"))
        SagaRun.objects.filter(pk=run.pk).update(retry_count=10)
        with pytest.raises(RetryCapExceeded):
            retry_step(run, "ship", reason="once more")

    def test_is_refused_for_another_step_than_the_one_that_stopped_the_saga(self) -> None:
        run = drive(diamond(ship="permanent"))
        refused(retry_step, run, "join", "join is succeeded, neither failed nor unknown")
        refused(retry_step, run, "nothing", "it has no such step; it has start, left")


class TestSkip:
    def test_a_step_skipped_with_a_result_shows_it_to_the_next_and_is_undone_later(self) -> None:
        run = mild(note="network", tell="unknown")
        run_one(run)
        run_one(run)
        skip_step(run, "note", result=Receipt("written by hand"), reason="did it", actor="ann")
        run_one(run, "b")
        cancel_saga(run, reason="changed my mind")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == [
            "a",
            "note",
            "b after written by hand",
            "undo_b(b after written by hand)",
            "undo_note(written by hand)",
            "undo_a(a)",
        ]
        event = run.events.get(type=EventType.STEP_SETTLED)
        assert (event.actor, event.note) == ("ann", "did it")
        assert (event.from_state, event.to_state) == ("ready", "succeeded")

    def test_a_step_skipped_without_a_result_is_never_undone(self) -> None:
        run = mild(note="network")
        run_one(run)
        run_one(run)
        skip_step(run, "note", reason="not needed")
        assert states(run)["note"] == StepState.SKIPPED
        run_one(run, "b")
        cancel_saga(run, reason="changed my mind")
        drive(run)
        assert CALLS == ["a", "note", "b after nothing", "undo_b(b after nothing)", "undo_a(a)"]

    def test_skipping_the_last_step_completes_the_saga(self) -> None:
        run = mild()
        for _ in range(3):
            run_one(run)
        assert skip_step(run, "tell", reason="told by phone").state == SagaState.COMPLETED

    def test_a_failed_best_effort_step_of_a_completed_saga_is_settled_and_the_warning_goes(
        self,
    ) -> None:
        run = drive(mild(tell="permanent"))
        settled = skip_step(run, "tell", result=Receipt("phone"), reason="told by phone")
        assert (settled.state, settled.has_warnings) == (SagaState.COMPLETED, False)
        assert step_of(run, "tell").output == {"of": "phone"}
        assert step_of(run, "tell").error == ""

    @pytest.mark.parametrize("result", [None, Receipt("by hand")])
    def test_a_dead_letter_goes_on_after_the_step_that_stopped_it(
        self, result: Receipt | None, messages: list[str]
    ) -> None:
        run = drive(diamond(ship="permanent"))
        del CALLS[:], messages[:]
        extra: dict[str, Any] = {} if result is None else {"result": result}
        again = skip_step(run, "ship", reason="shipped by hand", **extra)
        assert (again.state, again.error, again.retry_count) == (SagaState.RUNNING, "", 0)
        assert messages == ["sagas.tests.Diamond.tell"]
        assert drive(run).state == SagaState.COMPLETED
        assert states(run)["ship"] == ("succeeded" if result else "skipped")

    def test_an_unknown_pivot_that_did_happen_is_past_the_point_of_no_return(self) -> None:
        run = drive(diamond(pivot="unknown"))
        assert run.state == SagaState.DEAD_LETTER
        again = skip_step(run, "pivot", result=Receipt("it did"), reason="asked the bank")
        assert (again.state, again.pivot_passed) == (SagaState.RUNNING, True)
        with pytest.raises(ActionNotAllowed, match="point of no return"):
            cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.COMPLETED

    def test_a_skip_with_a_result_of_another_type_is_refused(self) -> None:
        run = drive(mild(tell="permanent"))
        before = everything()
        with pytest.raises(PayloadError, match=r"result of tell of tests\.Mild"):
            skip_step(run, "tell", result="phone", reason="x")
        with pytest.raises(ActionNotAllowed):
            skip_step(run, "nothing", result="phone", reason="x")
        assert everything() == before

    def test_a_result_can_be_given_as_json(self) -> None:
        run = drive(mild(tell="permanent"))
        assert result_from_json(run, "tell", {"of": "phone"}) == Receipt("phone")
        with pytest.raises(PayloadError, match=r"result of tell of tests\.Mild"):
            result_from_json(run, "tell", {"off": "phone"})

    def test_what_runs_or_is_done_or_blocked_is_refused(self) -> None:
        run = mild()
        refused(skip_step, run, "b", "b is pending, neither ready, waiting, failed nor unknown")
        run_one(run)
        refused(skip_step, run, "a", "a is succeeded")
        run = drive(cancel_saga(run, reason="x"))
        refused(skip_step, run, "b", "nothing of it will run any more")


class TestSkipOfACompensation:
    def test_says_that_the_step_was_undone_by_hand_and_the_rest_is_undone(self) -> None:
        run = stuck_on_its_way_back()
        CALLS.clear()
        again = skip_step(run, "b", reason="refunded by phone", actor="ann")
        assert again.state == SagaState.COMPENSATING
        assert states(run)["b"] == StepState.COMPENSATED
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_a(a)"]

    def test_ends_the_saga_if_it_was_the_last_one(self) -> None:
        run = drive(start_saga(Five, Script({"b": "permanent", "undo_a": "permanent"}), key="k"))
        assert run.state == SagaState.DEAD_LETTER
        assert skip_step(run, "a", reason="by hand").state == SagaState.COMPENSATED

    def test_is_possible_between_two_attempts_too(self) -> None:
        run = start_saga(Five, Script({"c": "permanent", "undo_b": "network"}), key="k")
        for _ in range(4):
            run_one(run)
        assert fresh(run).state == SagaState.COMPENSATING
        skip_step(run, "b", reason="by hand")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[3:] == ["undo_b", "undo_a(a)"]

    def test_leaves_the_saga_where_it_is_until_each_that_failed_is_settled(self) -> None:
        run = start_saga(
            Five,
            Script({"d": "permanent", "undo_c": "permanent", "undo_a": "permanent"}),
            key="several",
        )
        SagaRun.objects.filter(pk=run.pk).update(options={"on_compensation_failure": "continue"})
        run = drive(run)
        assert run.state == SagaState.DEAD_LETTER
        refused(retry_step, run, "c", "undo of a stopped it as well")
        assert skip_step(run, "c", reason="by hand").state == SagaState.DEAD_LETTER
        repair(run)
        retry_saga(run, reason="fixed")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_a(a)"]

    def test_takes_no_result(self) -> None:
        run = stuck_on_its_way_back()
        with pytest.raises(ActionNotAllowed, match="a compensation has no result"):
            skip_step(run, "b", result=Receipt("b"), reason="x")
