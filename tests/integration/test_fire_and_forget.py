"""A step for which its saga does not wait (R51)."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from sagas import start_saga, step
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.recover import sweep
from sagas.models import SagaRun, StepRun
from sagas.models.moments import now
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    complete_step,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.retention import purge
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of, won
from tests.letter import Letter
from tests.traced import CALLS, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class First(Traced):
    """{hello, for which nobody waits ∥ a}, then the pivot, then b."""

    class Meta:
        label = "tests.First"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step(critical=False, wait=False)
    def hello(self) -> Receipt:
        return self.act("hello")

    hello.no_compensation("a word")

    @step(pivot=True)
    def a(self) -> Receipt:
        return self.act("a")

    @step(critical=False, wait=False)
    def later(self) -> Receipt:
        return self.act("later")

    @step
    def b(self) -> Receipt:
        return self.act("b")


class Standing(Traced):
    """The pivot, then {left ∥ right → tell, for which nobody waits}."""

    class Meta:
        label = "tests.Standing"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step(pivot=True)
    def go(self) -> Receipt:
        return self.act("go")

    @step(after=[go])
    def left(self) -> Receipt:
        return self.act("left")

    @step(after=[go])
    def right(self) -> Receipt:
        return self.act("right")

    @step(after=[right], critical=False, wait=False)
    def tell(self) -> Receipt:
        return self.act("tell")


class Behind(Traced):
    """pay → mail (best effort) → stamp, for which nobody waits."""

    class Meta:
        label = "tests.Behind"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def pay(self) -> Receipt:
        return self.act("pay")

    pay.no_compensation("harmless")

    @step(critical=False)
    def mail(self) -> Receipt:
        return self.act("mail")

    mail.no_compensation("harmless")

    @step(critical=False, wait=False)
    def stamp(self) -> Receipt:
        return self.act("stamp")

    stamp.no_compensation("harmless")


def start(saga: type[Traced] = Letter, **faults: str) -> SagaRun:
    return start_saga(saga, Script(faults), key="k")


def completed(**faults: str) -> SagaRun:
    """A saga that is completed while its note and its letter are still to be written."""
    run = start(Letter, **faults)
    run_one(run, "a")
    run_one(run, "b")
    return fresh(run)


def repair(run: SagaRun) -> None:
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})


class TestTheSaga:
    def test_is_completed_without_it(self) -> None:
        run = completed()
        assert run.state == SagaState.COMPLETED
        assert states(run) == {
            "a": StepState.SUCCEEDED,
            "note": StepState.READY,
            "b": StepState.SUCCEEDED,
            "letter": StepState.READY,
        }
        assert not run.has_warnings
        assert "It did not wait for the rest: note is ready." in run.explain()

    def test_has_it_run_all_the_same(self) -> None:
        run = drive(completed())
        assert set(states(run).values()) == {StepState.SUCCEEDED}
        assert sorted(CALLS) == ["a", "b", "letter", "note"]
        assert (run.state, run.has_warnings, run.remaining) == (SagaState.COMPLETED, False, 0)

    def test_sends_it_and_goes_on_in_place_with_what_it_waits_for(
        self, messages: list[str]
    ) -> None:
        run = start()
        messages.clear()
        first = step_of(run, "a")
        execute(first.pk, first.fence, in_place=True)
        assert CALLS == ["a", "b"]
        assert [name.rpartition(".")[2] for name in messages] == ["note", "letter"]
        assert fresh(run).state == SagaState.COMPLETED

    def test_may_begin_with_it(self, messages: list[str]) -> None:
        run = start(First)
        assert [name.rpartition(".")[2] for name in messages] == ["hello", "a"]
        assert step_of(run, "a").pending_predecessors == 0
        run_one(run, "a")
        run_one(run, "b")
        assert fresh(run).state == SagaState.COMPLETED

    def test_waits_for_it_when_it_turns_back_while_it_runs(self) -> None:
        run = start(b="permanent")
        run_one(run, "a")
        note = claimed(run, "note")
        run_one(run, "b")
        assert fresh(run).state == SagaState.COMPENSATING
        assert not StepRun.objects.backward().filter(run=run).exists()
        expire_lease(note.pk)
        sweep()
        assert states(run)["note"] == StepState.UNKNOWN
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-2:] == ["undo_note(None)", "undo_a(a)"]

    def test_cancels_it_when_it_turns_back_before_it_began(self) -> None:
        run = start()
        run_one(run, "a")
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "undo_a(a)"]
        assert states(run)["note"] == StepState.CANCELLED

    def test_undoes_it_when_it_is_reverted(self) -> None:
        run = drive(completed())
        compensate_saga(run, reason="x", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED
        assert sorted(CALLS[4:]) == ["undo_a(a)", "undo_b(b)", "undo_note(note)"]
        assert CALLS[-1] == "undo_a(a)"

    def test_ends_it_first_when_it_is_reverted_while_it_runs(self) -> None:
        run = completed()
        note = claimed(run, "note")
        compensate_saga(run, reason="x", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATING
        assert states(run)["letter"] == StepState.CANCELLED
        expire_lease(note.pk)
        sweep()
        assert drive(run).state == SagaState.COMPENSATED
        assert "undo_note(None)" in CALLS

    def test_does_not_wait_for_it_after_a_dead_letter(self) -> None:
        run = start(First, b="permanent")
        run_one(run, "a")
        run_one(run, "b")
        assert fresh(run).state == SagaState.DEAD_LETTER
        repair(run)
        retry_saga(run, reason="x")
        run_one(run, "b")
        ended = fresh(run)
        assert (ended.state, ended.remaining) == (SagaState.COMPLETED, 0)
        assert drive(run).state == SagaState.COMPLETED
        assert set(states(run).values()) == {StepState.SUCCEEDED}

    def test_lets_it_begin_although_its_place_came_while_the_saga_stood_still(self) -> None:
        run = start(Standing, left="permanent")
        run_one(run, "go")
        right = claimed(run, "right")
        run_one(run, "left")
        assert fresh(run).state == SagaState.DEAD_LETTER
        assert won(right, Succeeded(output={"of": "right"}))
        repair(run)
        retry_saga(run, reason="x")
        assert drive(run).state == SagaState.COMPLETED
        assert states(run)["tell"] == StepState.SUCCEEDED


class TestItsOwnLife:
    def test_is_tried_again_after_its_saga_was_completed(self) -> None:
        run = completed(note="once-network")
        assert drive(run).has_warnings is False
        assert step_of(run, "note").attempt == 2

    def test_ends_in_a_warning_if_it_fails_for_good(self) -> None:
        run = drive(completed(note="network"))
        assert (run.state, run.has_warnings) == (SagaState.COMPLETED, True)
        assert SagaRun.objects.needs_attention().get() == run
        assert states(run)["letter"] == StepState.SUCCEEDED

    def test_warns_while_its_saga_still_runs_and_stops_nothing(self) -> None:
        run = start(note="permanent")
        run_one(run, "a")
        run_one(run, "note")
        assert fresh(run).has_warnings
        assert drive(run).state == SagaState.COMPLETED

    def test_that_is_open_is_no_warning_when_another_one_ends(self) -> None:
        run = completed()
        run_one(run, "letter")
        assert not fresh(run).has_warnings

    def test_is_tried_again_by_hand_and_then_warns_no_more(self) -> None:
        run = drive(completed(note="permanent"))
        repair(run)
        retry_step(run, "note", reason="mail works again")
        assert fresh(run).has_warnings
        assert not drive(run).has_warnings

    def test_is_settled_by_hand(self) -> None:
        run = completed(note="network")
        run_one(run, "note")
        skip_step(run, "note", reason="told by phone")
        ended = drive(run)
        assert (states(run)["note"], ended.has_warnings) == (StepState.SKIPPED, False)

    def test_waits_for_others_no_longer_than_its_saga_had(self) -> None:
        run = completed(note="wait")
        run_one(run, "note")
        row = step_of(run, "note")
        assert row.lease_until is not None
        assert row.started_at is not None
        assert row.lease_until - row.started_at >= run.deadline - run.created_at
        complete_step(run, "note", reason="x", result=Receipt("them"))
        assert states(run)["note"] == StepState.SUCCEEDED
        assert not drive(run).has_warnings

    def test_is_lost_and_tried_again_after_its_saga_was_completed(self) -> None:
        run = completed()
        expire_lease(claimed(run, "note").pk)
        sweep()
        assert set(states(drive(run)).values()) == {StepState.SUCCEEDED}

    def test_is_cancelled_with_a_warning_if_the_saga_leaves_out_what_it_comes_after(self) -> None:
        run = drive(start(Behind, mail="wait"))
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now())
        assert sweep().expired == 1
        ended = fresh(run)
        assert (ended.state, ended.has_warnings) == (SagaState.COMPLETED, True)
        assert states(run) == {"pay": "succeeded", "mail": "unknown", "stamp": "cancelled"}

    def test_keeps_its_saga_from_being_purged(self) -> None:
        run = completed()
        later = now() + timedelta(days=1)
        assert sum(purge(later)) == 0
        drive(run)
        assert sum(purge(later)) == 1
