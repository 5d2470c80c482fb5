"""A step that is a saga of its own (R11, R52)."""

from datetime import timedelta
from typing import Any, cast

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from sagas import Saga, child, start_saga, step
from sagas.engine import child_ends
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.recover import sweep
from sagas.exceptions import ActionNotAllowed, SagaDefinitionError
from sagas.models import SagaRun, StepRun
from sagas.models.moments import now
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    complete_step,
    pause_saga,
    preview_compensation,
    resolve_saga,
    resume_saga,
    retry_saga,
    skip_step,
)
from sagas.retention import purge
from sagas.states import SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, ready_steps, run_one, states, step_of
from tests.family import Apart, Household, Late, Letter, Order, Parcel, Sealed
from tests.traced import CALLS, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


class Misled(Traced):
    """Gives its child what is no input of it."""

    class Meta:
        label = "tests.FamilyMisled"

    @child(Parcel)
    def ship(self) -> Script:
        return cast("Script", "nonsense")


def start(saga: type[Traced] = Order, **faults: str) -> SagaRun:
    return start_saga(saga, Script(faults), key="k")


def repair(*runs: SagaRun) -> None:
    SagaRun.objects.filter(pk__in=[run.pk for run in runs]).update(input={"faults": {}})


def waiting(saga: type[Traced] = Order, **faults: str) -> tuple[SagaRun, SagaRun]:
    """A run whose child has begun, and the child."""
    run = start(saga, **faults)
    while not run.children.exists():
        run_one(run)
    return fresh(run), run.children.get()


def ended(run: SagaRun) -> SagaRun:
    """Do all that is ready of a child, without a word to its parent."""
    while ready := ready_steps(run):
        # As `execute` does, but for what it says to the parent.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child_ends, "tell_soon", lambda _: None)
            execute(ready[0].pk, ready[0].fence)
    return fresh(run)


class TestAChild:
    def test_is_started_by_its_step_which_waits_for_it_without_a_worker(
        self, messages: list[str]
    ) -> None:
        run, one = waiting()
        row = step_of(run, "ship")
        assert (row.state, row.lease_until, row.in_doubt) == (StepState.WAITING, None, False)
        assert (one.label, one.key, one.parent) == ("tests.FamilyParcel", row.idempotency_key, run)
        assert one.tags == {"of": "family"}
        assert messages[-1].endswith("FamilyParcel.pack")
        assert f"ship waits for its child {one} ({one.pk}): running." in run.explain()

    def test_that_is_completed_lets_its_parent_go_on(self) -> None:
        run = drive(start())
        assert run.state == SagaState.COMPLETED
        assert CALLS == ["pay", "ship", "pack", "send", "bill ship"]
        assert step_of(run, "ship").output == {
            "id": str(run.children.get().pk),
            "key": run.children.get().key,
        }

    def test_that_is_compensated_is_a_definite_failure_of_its_step(self) -> None:
        run = drive(start(send="permanent"))
        assert run.state == SagaState.COMPENSATED
        assert CALLS == ["pay", "ship", "pack", "send", "undo_pack(pack)", "undo_pay(pay)"]
        row = step_of(run, "ship")
        assert (row.state, row.error_code, row.in_doubt) == (StepState.FAILED, "REFUSED", False)
        assert "was compensated, because send: send refused" in row.error
        assert run.error_code == "REFUSED"

    def test_that_is_completed_is_undone_with_its_parent(self) -> None:
        run = drive(start(Order, **{"bill ship": "permanent"}))
        assert run.state == SagaState.COMPENSATED
        undone = ["undo_send(send)", "undo_pack(pack)", "undo_pay(pay)"]
        assert ["pay", "ship", "pack", "send", "bill ship", *undone] == CALLS
        assert run.children.get().state == SagaState.COMPENSATED
        assert states(run)["ship"] == StepState.COMPENSATED

    def test_is_undone_when_its_parent_is_reverted(self) -> None:
        run = drive(start())
        assert [undo.name for undo in preview_compensation(run)] == ["bill", "ship", "pay"]
        CALLS.clear()
        compensate_saga(run, reason="x", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == [
            "undo_bill(bill ship)",
            "undo_send(send)",
            "undo_pack(pack)",
            "undo_pay(pay)",
        ]

    def test_may_have_children_itself(self) -> None:
        run = drive(start(Household, close="permanent"))
        assert run.state == SagaState.COMPENSATED
        assert CALLS[-5:] == [
            "undo_bill(bill ship)",
            *("undo_send(send)", "undo_pack(pack)", "undo_pay(pay)", "undo_begin(begin)"),
        ]
        assert set(SagaRun.objects.values_list("state", flat=True)) == {"compensated"}

    def test_that_is_a_dead_letter_keeps_its_parent_waiting(self) -> None:
        run, one = waiting(Order, send="permanent", undo_pack="permanent")
        drive(run)
        assert fresh(one).state == SagaState.DEAD_LETTER
        assert fresh(run).state == SagaState.RUNNING
        assert "dead_letter, which needs an operator" in fresh(run).explain()
        repair(run, one)
        retry_saga(one, reason="x")
        assert drive(run).state == SagaState.COMPENSATED

    def test_that_was_settled_by_hand_leaves_its_step_in_doubt(self) -> None:
        run, one = waiting(Order, send="permanent", undo_pack="permanent")
        drive(run)
        resolve_saga(one, reason="done by phone")
        row = step_of(run, "ship")
        assert (row.state, row.error_code) == (StepState.UNKNOWN, "CHILD_RESOLVED")
        stands = drive(run)
        assert stands.state == SagaState.DEAD_LETTER
        assert "settled by hand" in stands.compensation_error
        skip_step(run, "ship", reason="I have looked")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "undo_pay(pay)"

    def test_that_is_past_its_point_of_no_return_makes_its_parent_a_dead_letter(self) -> None:
        run = drive(start(Letter, file="permanent"))
        assert run.state == SagaState.DEAD_LETTER
        assert "is past its point of no return" in run.compensation_error
        assert run.children.get().state == SagaState.COMPLETED
        skip_step(run, "mail", reason="it was called back by phone")
        assert drive(run).state == SagaState.COMPENSATED

    def test_is_not_answered_for_by_hand(self) -> None:
        run, _ = waiting()
        with pytest.raises(ActionNotAllowed, match=r"ship is the saga tests\.FamilyParcel"):
            complete_step(run, "ship", reason="x")
        with pytest.raises(ActionNotAllowed, match=r"ship is the saga tests\.FamilyParcel"):
            skip_step(run, "ship", reason="x")


class TestTheEndOfAChild:
    def test_is_told_by_whoever_ended_it(self) -> None:
        run, one = waiting()
        run_one(one)
        run_one(one)
        assert states(run)["ship"] == StepState.SUCCEEDED
        assert not fresh(one).owes_parent

    def test_is_told_by_the_sweep_if_its_process_died(self, messages: list[str]) -> None:
        run, one = waiting()
        one = ended(one)
        assert (one.state, one.owes_parent) == (SagaState.COMPLETED, True)
        assert states(run)["ship"] == StepState.WAITING
        messages.clear()
        assert sweep().told == 1
        assert states(run)["ship"] == StepState.SUCCEEDED
        assert messages == ["sagas.tests.FamilyOrder.bill"]
        assert sweep().told == 0
        assert drive(run).state == SagaState.COMPLETED

    def test_is_told_by_the_sweep_also_when_it_was_undone(self) -> None:
        run = drive(start())
        compensate_saga(run, reason="x", revert_completed=True)
        run_one(run, "bill")
        run_one(run, "ship")
        one = ended(run.children.get())
        assert (one.state, one.owes_parent) == (SagaState.COMPENSATED, True)
        assert states(run, "backward")["ship"] == StepState.WAITING
        assert sweep().told == 1
        assert drive(run).state == SagaState.COMPENSATED

    def test_is_told_to_a_dead_letter_and_counts_when_that_goes_on(self) -> None:
        run, one = waiting(Late)
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.DEAD_LETTER)
        ended(one)
        sweep()
        assert states(run)["ship"] == StepState.SUCCEEDED
        retry_saga(run, reason="x")
        assert drive(run).state == SagaState.COMPLETED

    def test_is_nothing_to_a_parent_that_was_resolved(self) -> None:
        run, one = waiting(Late)
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.DEAD_LETTER)
        resolve_saga(run, reason="x")
        one = ended(one)
        assert sweep().told == 1
        assert not fresh(one).owes_parent
        assert fresh(run).state == SagaState.RESOLVED


class TestAChildThatHearsLateThatAStepHappened:
    @pytest.mark.parametrize("told", ["by the process that heard", "by the sweep"])
    def test_is_undone_again_and_so_its_parent_is_not_yet(self, told: str) -> None:
        run, parcel, attempt = given_up()
        run = drive(run)
        assert (run.state, fresh(parcel).state) == (SagaState.COMPENSATED, SagaState.COMPENSATED)
        CALLS.clear()
        late(attempt)
        if told == "by the process that heard":
            child_ends.tell_soon(parcel.pk)
        else:
            sweep()
        assert fresh(run).state == SagaState.COMPENSATING
        assert (drive(run).state, fresh(parcel).state) == (
            SagaState.COMPENSATED,
            SagaState.COMPENSATED,
        )
        assert CALLS == ["undo_send(late)"]

    def test_and_cannot_be_undone_leaves_its_parent_turning_back(self) -> None:
        run, parcel, attempt = given_up()
        drive(run)
        SagaRun.objects.filter(pk=parcel.pk).update(input={"faults": {"undo_send": "permanent"}})
        late(attempt)
        run = drive(run)
        assert (run.state, fresh(parcel).state) == (SagaState.COMPENSATING, SagaState.DEAD_LETTER)
        assert "waits for its child" in run.explain()
        repair(parcel)
        retry_saga(parcel, reason="the post answers again")
        assert drive(run).state == SagaState.COMPENSATED

    def test_while_its_parent_goes_back_is_undone_before_what_is_left_there(self) -> None:
        run, parcel, attempt = given_up()
        while fresh(parcel).state != SagaState.COMPENSATED:
            run_one(parcel)
        assert fresh(run).state == SagaState.COMPENSATING
        CALLS.clear()
        late(attempt)
        child_ends.tell_soon(parcel.pk)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["undo_send(late)", "undo_pay(pay)"]


def given_up() -> tuple[SagaRun, SagaRun, StepRun]:
    """Return a run, its child, and an attempt of ``send`` that was lost; the child turns back."""
    run, parcel = waiting()
    run_one(parcel)
    for _ in range(2):
        attempt = claimed(parcel, "send")
        expire_lease(attempt.pk)
        sweep()
    assert fresh(parcel).state == SagaState.COMPENSATING
    return run, fresh(parcel), attempt


def late(attempt: StepRun) -> None:
    assert not record_outcome(attempt, Succeeded(output={"of": "late"}))


class TestAnAttemptToStartOne:
    def test_that_is_lost_leaves_nothing_and_no_doubt(self) -> None:
        run = start()
        run_one(run)
        attempt = claimed(run, "ship")
        expire_lease(attempt.pk)
        sweep()
        row = step_of(run, "ship")
        assert (row.state, row.in_doubt, run.children.count()) == (StepState.READY, False, 0)
        assert drive(run).state == SagaState.COMPLETED
        assert run.children.count() == 1

    def test_that_ends_after_its_saga_turned_back_starts_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start()
        run_one(run)
        act = Order.act

        def cancelled(saga: Order, name: str) -> object:
            if name == "ship":
                cancel_saga(run, reason="x")
            return act(saga, name)

        monkeypatch.setattr(Order, "act", cancelled)
        run_one(run)
        assert (states(run)["ship"], run.children.count()) == (StepState.FAILED, 0)
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-1] == "undo_pay(pay)"

    def test_whose_method_fails_is_no_doubt_even_if_that_had_no_answer(self) -> None:
        run = drive(start(ship="network"))
        assert run.state == SagaState.COMPENSATED
        assert step_of(run, "ship").state == StepState.FAILED
        assert step_of(run, "ship").attempt == 2
        assert "ship" not in states(run, "backward")

    def test_whose_input_does_not_fit_is_a_definite_failure(self) -> None:
        run = drive(start(Misled))
        row = step_of(run, "ship")
        assert (row.state, row.error_code) == (StepState.FAILED, "PAYLOAD")
        assert (run.state, run.children.count()) == (SagaState.COMPENSATED, 0)

    def test_after_one_that_was_undone_starts_another_one(self) -> None:
        run = drive(start(Late, mail="permanent"))
        assert run.state == SagaState.COMPLETED
        run = start_saga(Late, Script({"seal": "permanent"}), key="again")
        assert drive(run).state == SagaState.DEAD_LETTER
        repair(run)
        retry_saga(run, reason="x")
        assert drive(run).state == SagaState.COMPLETED
        first, second = SagaRun.objects.filter(parent_step=step_of(run, "mail")).order_by("pk")
        assert (first.state, second.state) == (SagaState.COMPENSATED, SagaState.COMPLETED)
        assert second.key == f"{first.key}/2"


class TestAParentThatTurnsBack:
    def test_turns_its_child_back_and_waits_for_its_end(self) -> None:
        run, one = waiting()
        run_one(one)
        cancel_saga(run, reason="x")
        assert fresh(one).state == SagaState.COMPENSATING
        assert states(run)["ship"] == StepState.WAITING
        assert not StepRun.objects.backward().filter(run=run).exists()
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-2:] == ["undo_pack(pack)", "undo_pay(pay)"]
        assert (fresh(one).state, fresh(one).error_code) == ("cancelled", "PARENT_TURNED_BACK")

    def test_at_its_deadline_does_the_same(self) -> None:
        run, one = waiting()
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now())
        assert sweep().expired == 1
        assert drive(run).state == SagaState.COMPENSATED
        assert fresh(one).state == SagaState.CANCELLED

    def test_reaches_its_grandchildren(self) -> None:
        run = start(Household)
        run_one(run)
        run_one(run)
        order = run.children.get()
        run_one(order)
        run_one(order)
        parcel = order.children.get()
        run_one(parcel)
        cancel_saga(run, reason="x")
        assert fresh(parcel).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-3:] == ["undo_pack(pack)", "undo_pay(pay)", "undo_begin(begin)"]

    def test_waits_for_a_child_that_is_past_its_point_of_no_return(self) -> None:
        run, one = waiting(Letter)
        run_one(one)
        cancel_saga(run, reason="x")
        assert fresh(one).state == SagaState.RUNNING
        assert drive(run).state == SagaState.DEAD_LETTER
        assert fresh(one).state == SagaState.COMPLETED

    def test_undoes_a_child_that_was_completed_before_it_heard_of_it(self) -> None:
        run, one = waiting()
        ended(one)
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-3:] == ["undo_send(send)", "undo_pack(pack)", "undo_pay(pay)"]

    def test_waits_while_its_child_runs_a_step(self) -> None:
        run, one = waiting()
        attempt = claimed(one, "pack")
        cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.COMPENSATING
        expire_lease(attempt.pk)
        sweep()
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[-2:] == ["undo_pack(None)", "undo_pay(pay)"]


class TestTheTimeOfAChildStep:
    def test_is_the_childs_too(self) -> None:
        run, one = waiting(Late)
        row = step_of(run, "ship")
        assert row.lease_until is not None
        run_one(one)
        expire_lease(row.pk)
        assert sweep().lost == 1
        assert states(run)["ship"] == StepState.WAITING
        assert fresh(one).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "undo_pack(pack)"
        assert (step_of(run, "ship").error_code, run.outcome_when_undone) == ("STEP_TIMEOUT", "")

    def test_does_not_pass_while_its_saga_is_paused(self) -> None:
        run, one = waiting(Late)
        pause_saga(run, reason="x")
        expire_lease(step_of(run, "ship").pk)
        assert sweep().lost == 0
        drive(one)
        assert states(run)["ship"] == StepState.SUCCEEDED
        resume_saga(run, reason="x")
        assert drive(run).state == SagaState.COMPLETED


class TestAChildForWhichNobodyWaits:
    def test_is_started_and_outlives_its_parent(self) -> None:
        run = start(Apart)
        run_one(run)
        run_one(run)
        one = run.children.get()
        assert (fresh(run).state, one.state) == (SagaState.COMPLETED, SagaState.RUNNING)
        assert step_of(run, "tell").output == {"id": str(one.pk), "key": one.key}
        assert drive(one).state == SagaState.COMPLETED
        assert sweep().told == 0

    def test_is_left_alone_when_its_parent_turns_back(self) -> None:
        run = start(Apart, close="permanent")
        run_one(run)
        run_one(run)
        assert fresh(run).state == SagaState.COMPENSATED
        assert run.children.get().state == SagaState.RUNNING


class TestThePageOfARun:
    def test_leads_to_its_children_and_to_its_parent(self, admin_client: Client) -> None:
        run, one = waiting()
        pages = {
            each.pk: reverse("admin:sagas_sagarun_change", args=[each.pk]) for each in (run, one)
        }
        above, below = (admin_client.get(pages[each.pk]).content.decode() for each in (run, one))
        assert f'href="{pages[one.pk]}"' in above
        assert f'href="{pages[run.pk]}#step-forward-ship"' in below
        assert "needs an operator" not in above


class TestPurging:
    def test_a_child_stays_as_long_as_its_parent_and_goes_after_it(self) -> None:
        run = drive(start())
        later = now() + timedelta(days=1)
        SagaRun.objects.filter(pk=run.pk).update(completed_at=F("completed_at") + timedelta(days=9))
        assert sum(purge(later)) == 0
        SagaRun.objects.filter(pk=run.pk).update(completed_at=F("completed_at") - timedelta(days=9))
        assert sum(purge(later)) == 2
        assert not SagaRun.objects.exists()


def undo(_saga: object, _result: object) -> None:
    """Look like a compensation."""


class TestDeclaring:
    def test_only_a_saga_can_be_a_child(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"@child takes the class of a saga"):

            class Wrong(Saga[Script]):
                @child(Script)  # type: ignore[arg-type]
                def ship(self) -> Script:
                    return self.input

    @pytest.mark.parametrize("what", ["compensation", "reconcile"])
    def test_it_has_its_undoing_built_in(self, what: str) -> None:
        with pytest.raises(SagaDefinitionError, match=f"remove the {what}"):

            class Wrong(Saga[Script]):
                @child(Parcel)
                def ship(self) -> Script:
                    return self.input

                declare: Any = getattr(ship, what)
                declare(undo)

    def test_it_is_not_atomic(self) -> None:
        with pytest.raises(SagaDefinitionError, match="remove atomic=True"):

            class Wrong(Saga[Script]):
                @child(Parcel, atomic=True)
                def ship(self) -> Script:
                    return self.input

    def test_behind_a_pivot_nothing_undoes_it(self) -> None:
        assert Late.definition.problems() == []
        assert Late.definition.step("mail").compensation is None
        assert Late.definition.step("ship").compensation is not None
        assert Sealed.definition.problems() == []

    def test_its_body_is_asked_in_a_unit_test_for_the_childs_input(self) -> None:
        assert Late(Script({"a": "b"})).ship() == Script({"a": "b"})


def test_a_saga_without_children_says_so() -> None:
    class Alone(Traced):
        class Meta:
            label = "tests.FamilyAlone"

        @step
        def only(self) -> None: ...

        only.no_compensation("a test")

    run = drive(start_saga(Alone, Script(), key="k"))
    assert (run.parent, list(run.children), run.owes_parent) == (None, [], False)
