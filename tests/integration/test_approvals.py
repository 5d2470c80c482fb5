"""A person approves, or rejects, who has the permission (R88)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import F
from django.db.models.functions import Now

from sagas import Approval, Saga, start_saga, step
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import WaitingForApproval
from sagas.engine.recover import sweep
from sagas.exceptions import ActionNotPermitted, PayloadError, SagaDefinitionError
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    allowed_actions,
    approve_step,
    cancel_saga,
    complete_step,
    fail_step,
    pause_saga,
    reject_step,
    resume_saga,
    retry_saga,
    rewind_saga,
)
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, everything, fresh, run_one, states, step_of
from tests.traced import CALLS, Script, Traced
from tests.waits import refused, run_out


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

PERMISSION = "sagas.revert_sagarun"
"""Any permission will do: which one is needed is the step's to say."""


@dataclass(frozen=True)
class Limit:
    euros: int


class Refund(Traced):
    """A refund, which somebody approves; and its undoing, which somebody approves as well."""

    class Meta:
        label = "tests.Refund"

    @step
    def prepare(self) -> None:
        self.act("prepare")

    @prepare.compensation
    def discard(self, _: None) -> None:
        CALLS.append("discard")
        if self.input.faults.get("discard"):
            raise Approval("the file may be discarded", permission=PERMISSION)

    @step
    def approve(self) -> Limit | None:
        terms = self.input.faults
        raise Approval(
            "refund over 500",
            permission=PERMISSION,
            four_eyes="four_eyes" in terms,
            timeout=float(terms["timeout"]) if "timeout" in terms else None,
            remind_after=float(terms["remind"]) if "remind" in terms else None,
        )

    @approve.compensation
    def disapprove(self, limit: Limit | None) -> None:
        CALLS.append(f"disapprove({limit})")

    @step
    def pay(self) -> None:
        self.act("pay")

    pay.no_compensation("it is the last")


def person(name: str, *codenames: str, **columns: Any) -> User:
    user = User.objects.create_user(name, **columns)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


@pytest.fixture
def ann() -> User:
    return person("ann", "revert_sagarun")


@pytest.fixture
def bob() -> User:
    return person("bob", "revert_sagarun")


def refund(**terms: str) -> SagaRun:
    return drive(start_saga(Refund, Script(terms), key="k"))


def told(run: SagaRun, type_: EventType) -> list[tuple[str, str]]:
    return list(run.events.filter(type=type_).values_list("actor", "note"))


def not_permitted(act: Callable[[], object], why: str) -> None:
    before = everything()
    with pytest.raises(ActionNotPermitted, match=why):
        act()
    assert everything() == before


class TestTheWait:
    def test_says_what_is_to_be_approved_and_who_may(self) -> None:
        run = refund(timeout="60")
        row = step_of(run, "approve")
        assert row.wait == {
            "kind": "approval",
            "note": "refund over 500",
            "permission": PERMISSION,
            "four_eyes": False,
            "approvals": [],
        }
        assert "approve waits for somebody to approve it, until" in run.explain()
        assert run.explain().endswith(": refund over 500.")
        assert {"approve_step", "reject_step"} <= allowed_actions(run)
        assert not {"complete_step", "fail_step"} & allowed_actions(run)

    def test_a_permission_is_written_as_django_does(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"shop\.approve_refund"):
            Approval(permission="approve_refund")


class TestApproving:
    def test_lets_the_saga_go_on_and_tells_who_it_was(self, ann: User) -> None:
        run = refund()
        approve_step(run, "approve", reason="a good customer", actor=ann, result=Limit(600))
        assert step_of(run, "approve").output == {"euros": 600}
        assert told(run, EventType.STEP_APPROVED) == [("ann", "a good customer")]
        assert ("ann", "a good customer") in told(run, EventType.STEP_SUCCEEDED)
        assert drive(run).state == SagaState.COMPLETED
        refused(lambda: approve_step(run, "approve", reason="x", actor=ann), "no approval")

    def test_rejecting_turns_the_saga_back(self, ann: User) -> None:
        run = reject_step(refund(), "approve", reason="a fraud", actor="ann")
        assert (run.error_code, run.error) == ("REJECTED", "rejected by ann: a fraud")
        assert ("ann", "a fraud; REJECTED: rejected by ann: a fraud") in told(
            run, EventType.STEP_FAILED
        )
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["prepare", "discard"]  # nothing was approved that could be undone

    @pytest.mark.parametrize("act", [approve_step, reject_step])
    def test_is_for_who_has_the_permission(self, act: Callable[..., SagaRun]) -> None:
        run = refund()
        person("eve", "answer_step_sagarun", "skip_step_sagarun", is_staff=True)
        person("gone", "revert_sagarun", is_active=False)
        for name, why in {
            "eve": f"eve has not the permission {PERMISSION}",
            "gone": "there is no active user 'gone'",
            "nobody": "there is no active user 'nobody'",
            "": "there is no active user ''",
        }.items():
            not_permitted(partial(act, run, "approve", reason="x", actor=name), why)

    def test_a_permission_that_was_taken_away_meanwhile_is_gone(self, ann: User) -> None:
        run = refund()
        assert ann.has_perm(PERMISSION)
        ann.user_permissions.clear()
        not_permitted(lambda: approve_step(run, "approve", reason="x", actor=ann), "ann has not")

    @pytest.mark.parametrize("act", [approve_step, reject_step])
    def test_needs_a_reason(self, ann: User, act: Callable[..., SagaRun]) -> None:
        run = refund()
        refused(lambda: act(run, "approve", reason=" \n", actor=ann), "a reason is needed")

    def test_a_result_of_another_type_changes_nothing(self, ann: User) -> None:
        run = refund()
        before = everything()
        with pytest.raises(PayloadError, match="result of approve"):
            approve_step(run, "approve", reason="x", actor=ann, result="a lot")
        assert everything() == before

    @pytest.mark.parametrize("name", ["prepare", "pay", "nobody"])
    def test_a_step_that_asks_nobody_is_refused(self, ann: User, name: str) -> None:
        run = refund()
        refused(lambda: approve_step(run, name, reason="x", actor=ann), "no approval|no such step")

    def test_a_superuser_may(self) -> None:
        person("root", is_superuser=True)
        run = refund()
        assert approve_step(run, "approve", reason="x", actor="root").state == SagaState.RUNNING


class TestFourEyes:
    def test_two_people_approve(self, ann: User, bob: User) -> None:
        run = refund(four_eyes="yes")
        approve_step(run, "approve", reason="fine", actor=ann, result=Limit(600))
        assert states(run)["approve"] == StepState.WAITING
        assert drive(run).state == SagaState.RUNNING
        approve_step(run, "approve", reason="fine too", actor=bob, result=Limit(600))
        assert told(run, EventType.STEP_APPROVED) == [("ann", "fine"), ("bob", "fine too")]
        assert drive(run).state == SagaState.COMPLETED

    def test_one_person_does_not_count_twice(self, ann: User) -> None:
        run = refund(four_eyes="yes")
        approve_step(run, "approve", reason="fine", actor=ann)
        refused(
            lambda: approve_step(run, "approve", reason="fine", actor="ann"),
            "ann has approved it; somebody else",
        )

    def test_they_approve_the_same(self, ann: User, bob: User) -> None:
        run = refund(four_eyes="yes")
        approve_step(run, "approve", reason="fine", actor=ann, result=Limit(600))
        refused(
            lambda: approve_step(run, "approve", reason="more", actor=bob, result=Limit(6000)),
            "ann approved it with another result",
        )

    def test_one_rejection_suffices_even_of_who_approved(self, ann: User, bob: User) -> None:
        for rejecting in (ann, bob):
            run = drive(start_saga(Refund, Script({"four_eyes": "yes"}), key=str(rejecting)))
            approve_step(run, "approve", reason="fine", actor=ann)
            assert reject_step(run, "approve", reason="no", actor=rejecting).is_compensating

    def test_an_approval_is_one_of_its_request(self, ann: User) -> None:
        run = refund()
        now = step_of(run, "approve").fence
        for other in (now - 1, now + 1):
            refused(
                partial(approve_step, run, "approve", reason="x", actor=ann, request=other),
                f"request {other}",
            )
        approve_step(run, "approve", reason="x", actor=ann, request=now)
        assert states(run)["approve"] == StepState.SUCCEEDED


class TestNothingElseAnswersIt:
    def test_an_operator_is_told_of_the_verbs_for_it(self) -> None:
        run = refund()
        refused(lambda: complete_step(run, "approve", reason="x"), "approve_step or reject_step")
        refused(
            lambda: fail_step(run, "approve", error="x", reason="x"), "approve_step or reject_step"
        )

    def test_what_was_said_before_it_asked_does_not_count(self) -> None:
        run = start_saga(Refund, Script(), key="k")
        run_one(run)
        attempt = claimed(run, "approve")
        complete_step(run, "approve", reason="too early")
        assert step_of(run, "approve").answer == {"output": None}
        record_outcome(attempt, WaitingForApproval(permission=PERMISSION))
        asked = step_of(run, "approve")
        assert (asked.state, asked.answer) == (StepState.WAITING, None)

    def test_nor_what_is_said_when_nobody_waits_for_it_any_more(self, ann: User) -> None:
        run = cancel_saga(refund(), reason="x")
        refused(lambda: complete_step(run, "approve", reason="x"), "approve_step")
        refused(lambda: approve_step(run, "approve", reason="x", actor=ann), "no approval")


class TestItsTime:
    def test_nobody_in_time_is_no_approval_and_nothing_in_doubt(self) -> None:
        run = refund(timeout="60")
        run_out(run, "approve")
        row = step_of(run, "approve")
        assert (row.state, row.error_code, row.in_doubt) == ("failed", "STEP_TIMEOUT", False)
        assert row.error.startswith("nobody approved it within")
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["prepare", "discard"]

    def test_a_saga_that_turns_back_asks_nobody_any_more(self) -> None:
        run = drive(cancel_saga(refund(four_eyes="yes"), reason="x"))
        row = step_of(run, "approve")
        assert (run.state, row.state) == (SagaState.CANCELLED, StepState.FAILED)
        assert (row.error_code, CALLS) == ("WAIT_GIVEN_UP", ["prepare", "discard"])

    @pytest.mark.parametrize("to", ["prepare", "approve"])
    def test_a_saga_that_is_rewound_asks_anew(self, ann: User, to: str) -> None:
        run = refund(four_eyes="yes")
        approve_step(run, "approve", reason="fine", actor=ann)
        drive(rewind_saga(run, to, reason="another amount"))
        row = StepRun.objects.forward().present().get(run=run, name="approve")
        assert (row.state, row.wait_terms["approvals"]) == (StepState.WAITING, [])
        assert (["prepare", "discard", "prepare"] if to == "prepare" else ["prepare"]) == CALLS
        assert reject_step(run, "approve", reason="no", actor=ann).is_compensating

    def test_it_is_reminded_of_once(self) -> None:
        run = refund(timeout="600", remind="60")
        end = step_of(run, "approve").wait_ends_at
        assert end is not None
        for _ in range(2):
            self.time_passes(run, 61)
            sweep()
            assert told(run, EventType.STEP_REMINDED) == [("", "refund over 500")]
        row = step_of(run, "approve")
        assert (row.state, row.wait_ends_at) == (StepState.WAITING, row.lease_until)
        assert row.lease_until is not None
        assert abs(row.lease_until - (end - timedelta(seconds=122))) < timedelta(seconds=1)
        run_out(run, "approve")
        assert step_of(run, "approve").state == StepState.FAILED

    def time_passes(self, run: SagaRun, seconds: int) -> None:
        earlier = F("lease_until") - timedelta(seconds=seconds)
        StepRun.objects.filter(run=run, lease_until__isnull=False).update(lease_until=earlier)

    def test_a_reminder_of_a_wait_without_an_end(self) -> None:
        run = refund(remind="60")
        assert step_of(run, "approve").wait_ends_at is None
        self.time_passes(run, 61)
        sweep()
        row = step_of(run, "approve")
        assert (row.state, row.lease_until, row.is_to_remind) == (StepState.WAITING, None, False)
        assert len(told(run, EventType.STEP_REMINDED)) == 1
        assert sweep().total == 0

    def test_a_reminder_after_the_end_is_none(self) -> None:
        run = refund(timeout="60", remind="600")
        assert not step_of(run, "approve").is_to_remind
        run_out(run, "approve")
        assert told(run, EventType.STEP_REMINDED) == []

    def test_a_pause_puts_off_the_reminder_and_the_end(self) -> None:
        run = refund(timeout="600", remind="60")
        end = step_of(run, "approve").wait_ends_at
        pause_saga(run, reason="x")
        self.time_passes(run, 61)
        assert sweep().total == 0
        assert told(run, EventType.STEP_REMINDED) == []
        SagaRun.objects.filter(pk=run.pk).update(paused_at=Now() - timedelta(seconds=100))
        resume_saga(run, reason="x")
        now = step_of(run, "approve").wait_ends_at
        assert now is not None
        assert end is not None
        assert timedelta(seconds=30) < now - end < timedelta(seconds=60)  # 100 later, 61 earlier


class TestUndoing:
    def test_waits_for_an_approval_as_well(self, ann: User) -> None:
        run = refund(discard="ask")
        drive(reject_step(run, "approve", reason="no", actor=ann))
        assert states(run, "backward") == {"prepare": StepState.WAITING}
        refused(lambda: complete_step(run, "discard", reason="x"), "approve_step")
        approve_step(run, "discard", reason="archived", actor=ann)
        assert fresh(run).state == SagaState.COMPENSATED

    def test_that_is_rejected_is_a_human_s(self, ann: User) -> None:
        run = refund(discard="ask")
        drive(reject_step(run, "approve", reason="no", actor=ann))
        stuck = reject_step(run, "discard", reason="keep it", actor=ann)
        assert stuck.state == SagaState.DEAD_LETTER
        assert stuck.compensation_error == "discard: rejected by ann: keep it"
        retry_saga(run, reason="ask again")
        drive(run)
        assert approve_step(run, "discard", reason="well", actor=ann).is_compensated


class Optional(Saga[Script]):
    """Only some refunds are to be approved: the others go on at once."""

    class Meta:
        label = "tests.OptionalApproval"

    @step
    def approve(self) -> None:
        if self.input.faults:
            raise Approval("refund over 500")

    approve.no_compensation("a word")


def test_a_step_that_returns_needs_no_approval_and_completes() -> None:
    assert drive(start_saga(Optional, Script(), key="k")).state == SagaState.COMPLETED
    asked = drive(start_saga(Optional, Script({"much": "yes"}), key="l"))
    assert (step_of(asked, "approve").wait or {})["permission"] == "sagas.answer_step_sagarun"
