"""What may have happened stays in doubt until somebody knows, and every late word counts (R41, R42)."""

import pytest

from sagas import PermanentError, Saga, start_saga, step
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import DidNotHappen, Failed, Outcome, Skipped, Succeeded, Waiting
from sagas.engine.recover import sweep
from sagas.engine.transitions import end_leases_of
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    allowed_actions,
    cancel_saga,
    compensate_saga,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.traced import CALLS, Five, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

TIMED_OUT = Failed(code="TimeoutError", error="no answer", retryable=True, in_doubt=True)
CANCEL_HEARD = Failed(code="SAGA_CANCELLED", error="stopped in mid-work", in_doubt=True)
MAY_HAVE: list[Outcome] = [TIMED_OUT, CANCEL_HEARD, Waiting()]
DID_NOT: list[Outcome] = [Failed(code="NO", error="no"), Skipped(), DidNotHappen()]
LATE = Succeeded(output={"of": "late"})


class Best(Traced):
    """A best-effort step, and then one that fails."""

    class Meta:
        label = "tests.DoubtBestEffort"
        step_defaults = {"max_retries": 0}

    @step(critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")

    @tell.compensation
    def untell(self, receipt: Receipt | None) -> None:
        self.undo("untell", receipt)

    @step
    def close(self) -> Receipt:
        return self.act("close")

    close.no_compensation("it is the last")


class Paid(Saga[str]):
    """One step, which the outside system can be asked about; it remembers what was undone."""

    class Meta:
        label = "tests.DoubtPaid"
        step_defaults = {"max_retries": 0}

    @step
    def pay(self) -> str:
        return "receipt"

    @pay.compensation
    def refund(self, receipt: str | None) -> None:
        CALLS.append(f"refund({receipt})")

    @pay.reconcile
    def find_payment(self) -> str | None:
        CALLS.append("find")
        return None


def give_up(attempt: StepRun) -> StepRun:
    expire_lease(attempt.pk)
    sweep()
    return attempt


def rolled_back() -> tuple[SagaRun, StepRun]:
    """Return a cancelled saga, and an attempt of its second step that was given up before."""
    run = start_saga(Five, Script(), key="k")
    run_one(run)
    attempt = give_up(claimed(run, "b"))
    cancel_saga(run, reason="no longer wanted")
    assert drive(run).state == SagaState.CANCELLED
    CALLS.clear()
    return run, attempt


class TestALateWord:
    @pytest.mark.parametrize("word", [*MAY_HAVE, LATE], ids=str)
    def test_that_it_may_have_happened_has_it_undone_once_more(self, word: Outcome) -> None:
        run, attempt = rolled_back()
        assert not record_outcome(attempt, word)
        assert fresh(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.CANCELLED
        assert [f"undo_b({'late' if word is LATE else None})"] == CALLS

    @pytest.mark.parametrize("word", DID_NOT, ids=str)
    def test_that_it_did_not_changes_nothing(self, word: Outcome) -> None:
        run, attempt = rolled_back()
        assert not record_outcome(attempt, word)
        assert fresh(run).state == SagaState.CANCELLED
        assert step_of(run, "b").at_large is None

    @pytest.mark.parametrize("word", [TIMED_OUT, LATE], ids=["may have", "did"])
    @pytest.mark.parametrize("state", [StepState.SKIPPED, StepState.FAILED, StepState.CANCELLED])
    def test_counts_whatever_the_step_was_called_meanwhile(
        self, word: Outcome, state: StepState
    ) -> None:
        run, attempt = rolled_back()
        StepRun.objects.filter(pk=attempt.pk).update(state=state, in_doubt=False)
        record_outcome(attempt, word)
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-1:] == [f"undo_b({'late' if word is LATE else None})"]

    @pytest.mark.parametrize("word", [TIMED_OUT, LATE], ids=["may have", "did"])
    def test_of_a_step_that_was_skipped_by_hand_counts_when_the_saga_turns_back(
        self, word: Outcome
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = give_up(claimed(run, "a"))
        skip_step(run, "a", reason="not needed")
        record_outcome(attempt, word)
        assert fresh(run).state == SagaState.RUNNING
        run_one(run, "b")
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[1:] == ["undo_b(b)", f"undo_a({'late' if word is LATE else None})"]

    @pytest.mark.parametrize("word", [TIMED_OUT, LATE], ids=["may have", "did"])
    def test_of_a_best_effort_step_that_is_tried_again_by_hand(self, word: Outcome) -> None:
        run = start_saga(Best, Script({"close": "permanent"}), key="k")
        attempt = give_up(claimed(run, "tell"))
        StepRun.objects.filter(pk=attempt.pk).update(state=StepState.FAILED, in_doubt=False)
        retry_step(run, "tell", reason="again")
        record_outcome(attempt, word)
        run_one(run, "close")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == f"untell({'late' if word is LATE else None})"

    def test_of_doubt_while_it_is_asked_has_the_question_put_anew(self) -> None:
        run = start_saga(Paid, "x", key="k")
        attempt = give_up(claimed(run, "pay"))
        question = claimed(run, "pay")
        assert question.is_reconciling
        record_outcome(attempt, TIMED_OUT)
        assert not record_outcome(question, DidNotHappen())
        row = step_of(run, "pay")
        assert (row.state, row.reconcile_attempts) == (StepState.READY, 0)

    @pytest.mark.parametrize("word", [TIMED_OUT, LATE], ids=["may have", "did"])
    @pytest.mark.parametrize("retried", [False, True])
    def test_is_not_cleared_by_the_definite_failure_of_another_attempt(
        self, word: Outcome, *, retried: bool
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        first = give_up(claimed(run, "a"))
        StepRun.objects.filter(pk=first.pk).update(in_doubt=False)
        second = claimed(run, "a")
        assert not second.in_doubt
        record_outcome(first, word)
        if retried:
            record_outcome(second, Failed(code="X", error="x", retryable=True, skip_backoff=True))
            second = claimed(run, "a")
        record_outcome(second, Failed(code="NO", error="no"))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_a(None)"]

    def test_is_heard_by_a_resolved_saga_and_moves_nothing(self) -> None:
        run, attempt = rolled_back()
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.RESOLVED)
        record_outcome(attempt, LATE)
        assert fresh(run).state == SagaState.RESOLVED
        assert states(run)["b"] == StepState.COMPENSATED


class TestAnAttemptAtLarge:
    """Given up, and perhaps alive: a no that was looked up before it acts is not the last word."""

    def lost(self, **columns: object) -> tuple[SagaRun, StepRun]:
        run = start_saga(Paid, "x", key="k")
        attempt = claimed(run, "pay")
        StepRun.objects.filter(pk=attempt.pk).update(**columns)
        return run, attempt

    def test_is_undone_with_none_although_the_outside_system_says_no(self) -> None:
        run, attempt = self.lost()
        give_up(attempt)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["find", "refund(None)"]

    def test_is_not_undone_if_it_was_heard_of_before(self) -> None:
        run, attempt = self.lost()
        give_up(attempt)
        record_outcome(attempt, Failed(code="NO", error="refused"))
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["find"]

    def test_is_not_undone_if_its_process_is_known_to_be_dead(self) -> None:
        run, attempt = self.lost(worker="celery@host/17")
        end_leases_of("celery@host/17")
        sweep()
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["find"]
        assert attempt.fence

    def test_is_not_undone_if_it_only_asked(self) -> None:
        run, attempt = self.lost()
        record_outcome(attempt, TIMED_OUT)
        question = claimed(run, "pay")
        assert question.is_reconciling
        give_up(question)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["find"]


class TestAnOutsidePartyAtLarge:
    """Nobody waits for it any more, and it may still act after the outside system was asked."""

    def asked(self) -> tuple[SagaRun, StepRun]:
        run = start_saga(Paid, "x", key="k")
        attempt = claimed(run, "pay")
        record_outcome(attempt, Waiting())
        return run, attempt

    def test_is_undone_with_none_when_its_time_ran_out(self) -> None:
        run, attempt = self.asked()
        give_up(attempt)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["find", "refund(None)"]

    def test_is_undone_with_none_when_the_saga_turned_back(self) -> None:
        run, _ = self.asked()
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["find", "refund(None)"]

    def test_is_undone_with_none_when_an_attempt_that_had_been_given_up_asked_it(self) -> None:
        run = start_saga(Paid, "x", key="k")
        attempt = give_up(claimed(run, "pay"))
        record_outcome(attempt, Waiting())
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["find", "refund(None)"]

    def test_is_undone_with_none_when_it_was_asked_while_the_saga_turned(self) -> None:
        run = start_saga(Paid, "x", key="k")
        attempt = claimed(run, "pay")
        cancel_saga(run, reason="x")
        record_outcome(attempt, Waiting())
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["find", "refund(None)"]


class TestTheLastLook:
    def test_a_compensation_skipped_by_hand_does_not_hide_another_step_that_stands(self) -> None:
        run = start_saga(Five, Script({"undo_a": "permanent"}), key="k")
        run_one(run)
        attempt = give_up(claimed(run, "b"))
        cancel_saga(run, reason="no longer wanted")
        assert drive(run).state == SagaState.DEAD_LETTER
        record_outcome(attempt, LATE)
        skip_step(run, "a", reason="undone by hand")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-1] == "undo_b(late)"

    @pytest.mark.parametrize("state", [StepState.SUCCEEDED, StepState.UNKNOWN])
    def test_whatever_stands_when_the_chain_ends_is_undone(self, state: StepState) -> None:
        run = start_saga(Five, Script(), key="k")
        run_one(run)
        run_one(run)
        cancel_saga(run, reason="x")
        run_one(run, "b")
        # Nobody undid it, and no row of the chain says so.
        StepRun.objects.filter(run=run, name="c").update(state=state, output={"of": "c"})
        assert drive(run).state == SagaState.CANCELLED
        assert f"undo_c({'c' if state is StepState.SUCCEEDED else None})" in CALLS
        assert states(run)["c"] == StepState.COMPENSATED

    def test_nothing_ends_while_a_forward_step_is_in_flight(self) -> None:
        run = start_saga(Five, Script(), key="k")
        run_one(run)
        cancel_saga(run, reason="x")
        StepRun.objects.filter(run=run, name="b").update(
            state=StepState.READY, reconcile_attempts=0
        )
        StepRun.objects.filter(run=run, name="b").update(due_at=run.created_at)
        row = step_of(run, "b")
        StepRun.objects.filter(pk=row.pk).update(
            state=StepState.RUNNING, lease_until=run.deadline, reconcile_attempts=None, fence=1
        )
        run_one(run, "a")
        assert fresh(run).state == SagaState.COMPENSATING
        record_outcome(StepRun.objects.get(pk=row.pk), Succeeded(output={"of": "b"}))
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-1] == "undo_b(b)"


class Pivotal(Traced):
    """reserve → ship (no return) → charge → book."""

    class Meta:
        label = "tests.DoubtPivotal"
        step_defaults = {"max_retries": 0}

    @step
    def reserve(self) -> Receipt:
        return self.act("reserve")

    @reserve.compensation
    def release(self, receipt: Receipt | None) -> None:
        self.undo("release", receipt)

    @step(pivot=True)
    def ship(self) -> Receipt:
        return self.act("ship")

    @step
    def charge(self) -> Receipt:
        return self.act("charge")

    @step
    def book(self) -> Receipt:
        return self.act("book")


class TestAPivotThatIsNotTaken:
    @pytest.mark.parametrize("dead", [False, True], ids=["ready", "dead letter"])
    def test_counts_as_passed_when_it_was_skipped_by_hand(self, *, dead: bool) -> None:
        faults = {"book": "permanent"} | ({"ship": "unknown"} if dead else {})
        run = start_saga(Pivotal, Script(faults), key="k")
        run_one(run)
        if dead:
            assert drive(run).state == SagaState.DEAD_LETTER
        skip_step(run, "ship", reason="picked up by the customer")
        told = run.events.get(type="pivot_passed")
        assert told.note == "ship was skipped, and counts as passed"
        assert drive(run).state == SagaState.DEAD_LETTER
        assert "charge" in CALLS
        assert not any(call.startswith("release") for call in CALLS)
        assert "compensate" not in operations(run)

    def test_counts_as_passed_whatever_way_it_was_skipped(self) -> None:
        run = start_saga(Pivotal, Script({"book": "permanent"}), key="k")
        run_one(run)
        record_outcome(claimed(run, "ship"), Skipped())  # by a condition of an older release
        assert drive(run).state == SagaState.DEAD_LETTER
        assert fresh(run).pivot_passed

    def test_what_stands_behind_it_is_no_way_back_either(self) -> None:
        run = start_saga(Pivotal, Script({"book": "permanent"}), key="k")
        for _ in range(3):
            run_one(run)
        StepRun.objects.filter(run=run, name="ship").update(state=StepState.SKIPPED)
        SagaRun.objects.update(pivot_passed=False)
        drive(run)
        assert fresh(run).state == SagaState.DEAD_LETTER

    def test_is_refused_where_it_is_declared(self) -> None:
        class Odd(Saga[str]):
            class Meta:
                label = "tests.DoubtOdd"

            @step(pivot=True)
            def ship(self) -> str:
                return "parcel"

            @ship.condition
            def has_goods(self) -> bool:
                return False

        (problem,) = Odd.definition.problems()
        assert (problem.id, problem.is_error) == ("sagas.E017", True)
        assert "pivot ship has a condition" in problem.message


class Holding(Saga[str]):
    """``wire`` leaves it to a human when nobody knows; ``other`` runs beside it."""

    class Meta:
        label = "tests.DoubtHolding"
        step_defaults = {"max_retries": 0}
        auto_retry = 2

    @step(on_unknown="hold")
    def wire(self) -> Receipt:
        return Receipt("wire")

    @wire.compensation
    def unwire(self, receipt: Receipt | None) -> None:
        CALLS.append(f"unwire({receipt.of if receipt else None})")

    @step(after=[])
    def other(self) -> Receipt:
        if self.input == "fails":
            raise PermanentError("no")
        return Receipt("other")

    @other.compensation
    def undo_other(self, receipt: Receipt | None) -> None:
        CALLS.append("undo_other")


class TestAStepThatHolds:
    def held(self, how: str) -> SagaRun:
        """Return a dead letter whose ``wire`` may have happened."""
        run = start_saga(Holding, "fails" if how == "sibling" else "x", key="k")
        wire = claimed(run, "wire")
        run_one(run, "other")
        if how == "cancel":
            cancel_saga(run, reason="x")
        if how == "deadline":
            SagaRun.objects.update(deadline=run.created_at)
            sweep()
        give_up(wire)
        drive(run)
        assert fresh(run).state == SagaState.DEAD_LETTER
        assert CALLS == []
        return run

    @pytest.mark.parametrize("how", ["alone", "sibling", "cancel", "deadline"])
    def test_is_not_undone_blindly_whatever_turned_the_saga(self, how: str) -> None:
        run = self.held(how)
        assert fresh(run).auto_retry_at is None
        assert "wire" in fresh(run).explain()
        allowed = operations(run)
        assert {"compensate", "resolve", "skip_step"} <= allowed
        assert ("retry" in allowed) is (how == "alone")

    @pytest.mark.parametrize("how", ["sibling", "cancel", "deadline"])
    @pytest.mark.parametrize("happened", [False, True])
    def test_waits_for_a_human_who_says_whether_it_happened(
        self, how: str, *, happened: bool
    ) -> None:
        run = self.held(how)
        if happened:
            skip_step(run, "wire", reason="seen", result=Receipt("seen"))
        else:
            skip_step(run, "wire", reason="the bank knows nothing of it")
        assert drive(run).is_compensated
        undone = [] if how == "sibling" else ["undo_other"]
        assert sorted(CALLS) == undone + (["unwire(seen)"] if happened else [])

    @pytest.mark.parametrize("how", ["alone", "sibling", "cancel"])
    def test_waits_for_a_human_who_has_it_undone(self, how: str) -> None:
        run = compensate_saga(self.held(how), reason="rather twice than never")
        ended = drive(run)
        assert ended.state == (SagaState.CANCELLED if how == "cancel" else SagaState.COMPENSATED)
        assert "unwire(None)" in CALLS

    def test_is_held_too_when_a_late_word_comes_after_all_was_undone(self) -> None:
        run = self.held("cancel")
        skip_step(run, "wire", reason="the bank knows nothing of it")
        assert drive(run).state == SagaState.CANCELLED
        CALLS.clear()
        attempt = step_of(run, "wire")
        attempt.state, attempt.fence = StepState.RUNNING, 1
        record_outcome(attempt, TIMED_OUT)
        assert drive(run).state == SagaState.DEAD_LETTER
        assert CALLS == []
        skip_step(run, "wire", reason="seen", result=Receipt("seen"))
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS == ["unwire(seen)"]


def operations(run: SagaRun) -> frozenset[str]:
    return allowed_actions(fresh(run))


class TestAStepThatIsKept:
    def test_does_not_stand_in_the_way_with_its_failed_compensation(self) -> None:
        run = start_saga(Five, Script({"undo_a": "permanent"}), key="k")
        run_one(run)
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.DEAD_LETTER
        row = step_of(run, "a")
        StepRun.objects.filter(pk=row.pk).update(options={**row.options, "compensable_until": "b"})
        StepRun.objects.filter(run=run, name="b").update(state=StepState.SUCCEEDED, compensation="")
        retry_saga(run, reason="b happened after all")
        assert drive(run).state == SagaState.CANCELLED
        assert states(run, "backward") == {"a": "skipped"}
