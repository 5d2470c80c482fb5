"""Rewinding: a saga goes back to one of its steps, and forward again with fresh keys."""

from contextlib import suppress
from dataclasses import dataclass

import pytest

from sagas import Saga, start_saga, step
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Outcome, Succeeded, Waiting
from sagas.exceptions import ActionNotAllowed, PayloadError, SagaConflict
from sagas.idempotency import once, undo_once
from sagas.models import IdempotencyRecord, SagaRun, StepRun
from sagas.operations import (
    allowed_actions,
    cancel_saga,
    compensate_saga,
    complete_compensation,
    complete_step,
    pause_saga,
    preview_rewind,
    resume_saga,
    retry_saga,
    rewind_saga,
    skip_step,
)
from sagas.states import Direction, EventType, SagaState, StepState
from tests.begun import diamond, five
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.traced import CALLS, Five, Receipt, Script, Traced


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

SURELY = Succeeded(output={"of": "late"})
PERHAPS = Failed(code="X", error="perhaps", in_doubt=True)
DEFINITELY_NOT = Failed(code="REFUSED", error="refused")


def drive_until_forward(run: SagaRun) -> None:
    while fresh(run).state == SagaState.COMPENSATING:
        run_one(run)


def keys(run: SagaRun) -> dict[str, str]:
    rows = StepRun.objects.forward().filter(run=run)
    return {row.name: row.idempotency_key.removeprefix(str(run.pk)) for row in rows}


def run_events(run: SagaRun) -> list[str]:
    return list(run.events.filter(step=None).values_list("type", flat=True))


class TestBackAndForth:
    def test_what_depends_on_it_is_undone_in_reverse_and_then_done_anew(self) -> None:
        run = five(4)
        rewound = rewind_saga(run, to="c", reason="wrong size", actor="ann")
        assert (rewound.state, rewound.rewind_to) == (SagaState.COMPENSATING, "c")
        assert rewound.explain().startswith(
            "Rewinding to c, to go forward again, because wrong size; "
        )
        run = drive(run)
        assert CALLS[4:] == ["undo_d(d)", "undo_c(c)", "c", "d", "e"]
        assert (run.state, run.error, run.rewind_to) == (SagaState.COMPLETED, "", "")
        assert (run.outcome_when_undone, run.has_warnings) == ("", False)
        assert run_events(run) == ["started", "rewinding", "rewound", "completed"]
        said = run.events.get(type=EventType.REWINDING)
        assert (said.actor, said.note) == ("ann", "wrong size")

    def test_each_life_has_a_key_of_its_own_and_what_never_began_keeps_it(self) -> None:
        run = five(4)
        rewind_saga(run, to="c", reason="once")
        assert drive(run).state == SagaState.COMPLETED
        first = {"a": ":a", "b": ":b", "c~1": ":c", "d~1": ":d"}
        assert keys(run) == {**first, "c": "/2:c", "d": "/2:d", "e": ":e"}
        rewind_saga(fresh(run), to="d", reason="twice")
        assert drive(run).state == SagaState.COMPLETED
        second = {"c": "/2:c", "d~2": "/2:d", "e~2": ":e"}
        assert keys(run) == {**first, **second, "d": "/3:d", "e": "/3:e"}
        undone = {row.name: row.idempotency_key for row in StepRun.objects.backward()}
        assert undone["d~2"] == f"{run.pk}/2:d:undo"

    def test_the_new_life_sees_the_corrected_input_and_the_compensations_the_old_one(self) -> None:
        run = five(3, d="permanent")
        rewind_saga(run, to="b", input=Script({"c": "permanent", "undo_b": "bug"}), reason="wrong")
        for _ in range(3):
            run_one(run)
        assert CALLS[3:] == ["undo_c(c)", "undo_b(b)", "b"]
        assert fresh(run).input == {"faults": {"c": "permanent", "undo_b": "bug"}}
        assert drive(run).state == SagaState.DEAD_LETTER
        assert CALLS[6:] == ["c", "undo_b"]

    def test_a_step_between_two_attempts_goes_on_with_another_input(self) -> None:
        run = five(2, c="network")
        assert run_one(run) == "ConnectionError"
        rewind_saga(run, to="c", input=Script(), reason="wrong address")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[2:] == ["c", "undo_c(None)", "c", "d", "e"]
        assert keys(run)["c~1"] == ":c"

    def test_a_completed_saga_is_rewound_and_completes_again(self) -> None:
        run = five()
        run = rewind_saga(run, to="e", reason="sent to the wrong place")
        assert run.completed_at is None
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[5:] == ["undo_e(e)", "e"]

    def test_a_dead_letter_that_would_go_forward_is_rewound(self) -> None:
        run = start_saga(Held, Script({"pay": "unknown"}), key="held")
        assert drive(run).state == SagaState.DEAD_LETTER
        assert "rewind" in allowed_actions(fresh(run))
        rewind_saga(fresh(run), to="pay", input=Script(), reason="nobody knows: undo it")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["pay", "undo_pay(None)", "pay"]
        assert step_of(run, "pay").plan.holds_unknown
        assert not step_of(run, "pay~1").plan.holds_unknown

    def test_it_has_a_fresh_deadline(self) -> None:
        run = five(3)
        SagaRun.objects.filter(pk=run.pk).update(deadline=run.created_at)
        rewind_saga(run, to="b", reason="wrong")
        for _ in range(2):
            run_one(run)
        run = fresh(run)
        assert run.state == SagaState.RUNNING
        assert run.deadline > run.updated_at

    def test_a_paused_saga_is_rewound_when_it_is_resumed(self) -> None:
        run = five(2)
        pause_saga(run, reason="look")
        rewind_saga(fresh(run), to="b", reason="wrong")
        assert drive(run).state == SagaState.COMPENSATING
        resume_saga(fresh(run), reason="go")
        assert drive(run).state == SagaState.COMPLETED

    def test_effects_that_happen_once_happen_once_in_each_life(self) -> None:
        run = start_saga(Ledger, {"amount": 5}, key="ledger")
        assert drive(run).state == SagaState.COMPLETED
        rewind_saga(fresh(run), to="book", input={"amount": 7}, reason="wrong amount")
        run = drive(run)
        assert run.state == SagaState.COMPLETED
        records = IdempotencyRecord.objects.order_by("pk").values_list("key", "result", "happened")
        assert [result for _, result, _ in records] == [5, 7]
        assert [key for key, *_ in records] == [f"{run.pk}:book", f"{run.pk}/2:book"]
        assert BOOKED == [5, -5, 7]


class Held(Traced):
    class Meta:
        label = "tests.RewindHeld"

    @step(on_unknown="hold")
    def pay(self) -> Receipt:
        return self.act("pay")

    @pay.compensation
    def undo_pay(self, receipt: Receipt | None) -> None:
        self.undo("undo_pay", receipt)


BOOKED: list[int] = []


class Ledger(Saga[dict[str, int]]):
    class Meta:
        label = "tests.RewindLedger"

    @step
    def book(self) -> int:
        def effect() -> int:
            BOOKED.append(self.input["amount"])
            return self.input["amount"]

        return once(self.idempotency_key, effect)

    @book.compensation
    def unbook(self, amount: int | None) -> None:
        undo_once(self.undoing.idempotency_key, lambda: BOOKED.append(-self.input["amount"]))


@pytest.fixture(autouse=True)
def _nothing_booked() -> None:
    BOOKED.clear()


class TestWhatStands:
    def test_a_branch_beside_is_not_undone(self) -> None:
        run = diamond("start", "left", "right", "join")
        preview = preview_rewind(run, "left")
        assert [undo.handler for undo in preview.undone] == ["undo_join", "undo_left"]
        assert preview.again == ["left", "join", "pivot", "ship", "tell"]
        assert preview.stand == ["start", "right"]
        CALLS.clear()
        rewind_saga(run, to="left", reason="wrong")
        run_one(run)
        run_one(run)
        assert states(run)["right"] == StepState.SUCCEEDED
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == [
            "undo_join(join)",
            "undo_left(left)",
            "left",
            "join",
            "pivot",
            "ship",
            "tell",
        ]

    def test_what_runs_beside_ends_and_what_follows_from_it_follows(self) -> None:
        run = diamond("start", "left")
        right = claimed(run, "right")
        rewind_saga(run, to="left", reason="wrong")
        assert run_one(run) == "succeeded"
        assert fresh(run).state == SagaState.RUNNING
        assert record_outcome(right, Succeeded(output={"of": "right"})).won
        run = drive(run)
        assert run.state == SagaState.COMPLETED
        assert CALLS[2:6] == ["undo_left(left)", "left", "join", "pivot"]

    def test_what_runs_beside_may_end_while_the_saga_rewinds(self) -> None:
        run = diamond("start", "left")
        right = claimed(run, "right")
        rewind_saga(run, to="left", reason="wrong")
        assert record_outcome(right, Succeeded(output={"of": "right"})).won
        assert fresh(run).state == SagaState.COMPENSATING
        assert states(run)["join"] == StepState.CANCELLED
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS.count("join") == 1

    def test_what_waits_beside_goes_on_waiting(self) -> None:
        run = diamond("start", "left")
        record_outcome(right := claimed(run, "right"), Waiting())
        rewind_saga(run, to="left", reason="wrong")
        drive(run)
        assert (fresh(run).state, states(run)["right"]) == (SagaState.RUNNING, StepState.WAITING)
        assert step_of(run, "right").fence == right.fence

    def test_an_answer_is_for_the_life_that_asked(self) -> None:
        run = five(1)
        record_outcome(asked := claimed(run, "b"), Waiting())
        rewind_saga(fresh(run), to="b", reason="wrong")
        drive_until_forward(run)
        record_outcome(again := claimed(run, "b"), Waiting())
        assert again.fence > asked.fence
        complete_step(run, "b", result=Receipt("old"), request=asked.fence, reason="late")
        assert states(run)["b"] == StepState.WAITING
        drive(run)
        assert states(run)["b~1"] == StepState.COMPENSATED
        complete_step(run, "b", result=Receipt("new"), request=again.fence, reason="now")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["a", "undo_b(None)", "undo_b(old)", "c", "d", "e"]

    def test_an_answer_to_a_compensation_is_for_the_life_that_asked(self) -> None:
        run = five(5, undo_e="wait")
        rewind_saga(run, to="e", reason="wrong")
        run_one(run)
        asked = step_of(run, "e", direction=Direction.BACKWARD).fence
        complete_compensation(fresh(run), "e", request=asked, reason="done")
        drive(run)
        rewind_saga(fresh(run), to="e", reason="wrong again")
        run_one(run)
        again = step_of(run, "e", direction=Direction.BACKWARD).fence
        for name in ("undo of e", "undo_e"):
            with suppress(ActionNotAllowed):
                complete_step(fresh(run), name, request=asked, reason="told once more")
            assert fresh(run).state == SagaState.COMPENSATING
        complete_compensation(fresh(run), "e", request=again, reason="done")
        assert drive(run).state == SagaState.COMPLETED

    def test_what_fails_beside_is_tried_again_when_the_saga_goes_forward(self) -> None:
        run = diamond("start", "left")
        right = claimed(run, "right")
        rewind_saga(run, to="left", reason="wrong")
        record_outcome(right, DEFINITELY_NOT)
        assert fresh(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPLETED
        assert "right" in CALLS
        assert keys(run)["right"] == ":right"

    def test_what_is_tried_again_beside_is_tried_when_the_saga_goes_forward(self) -> None:
        run = diamond("start", "left")
        right = claimed(run, "right")
        rewind_saga(run, to="left", reason="wrong")
        record_outcome(right, Failed(code="BUSY", error="busy", retryable=True))
        assert (fresh(run).state, states(run)["right"]) == (SagaState.COMPENSATING, StepState.READY)
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS.count("right") == 1

    def test_what_may_have_happened_beside_waits_for_a_human_where_it_holds(self) -> None:
        run = start_saga(Beside, Script(), key="beside")
        run_one(run, "pack")
        held = claimed(run, "pay")
        rewind_saga(fresh(run), to="pack", reason="wrong")
        record_outcome(held, Failed(code="X", error="who knows", in_doubt=True))
        drive(run)
        assert fresh(run).state == SagaState.DEAD_LETTER
        skip_step(fresh(run), "pay", result=Receipt("pay"), reason="it did")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["pack", "undo_pack(pack)", "pack"]


class Beside(Traced):
    class Meta:
        label = "tests.RewindBeside"

    @step(after=[])
    def pack(self) -> Receipt:
        return self.act("pack")

    @pack.compensation
    def undo_pack(self, receipt: Receipt | None) -> None:
        self.undo("undo_pack", receipt)

    @step(after=[], on_unknown="hold")
    def pay(self) -> Receipt:
        return self.act("pay")

    @pay.compensation
    def undo_pay(self, receipt: Receipt | None) -> None:
        self.undo("undo_pay", receipt)


class TestRefusals:
    def refused(self, run: SagaRun, to: str, match: str) -> None:
        before = [*SagaRun.objects.values(), *StepRun.objects.values()]
        with pytest.raises(ActionNotAllowed, match=match):
            rewind_saga(run, to=to, reason="wrong")
        assert [*SagaRun.objects.values(), *StepRun.objects.values()] == before

    def test_a_step_that_has_not_begun(self) -> None:
        self.refused(five(2), "d", "d has not begun, so there is nothing to undo")

    def test_a_step_that_there_is_not(self) -> None:
        self.refused(five(2), "z", "it has no such step; it has a, b, c, d, e")

    def test_past_the_point_of_no_return(self) -> None:
        self.refused(drive(diamond()), "left", "past its point of no return")

    def test_while_the_pivot_runs(self) -> None:
        run = diamond("start", "left", "right", "join")
        claimed(run, "pivot")
        self.refused(fresh(run), "left", "past its point of no return, or may be")

    def test_while_it_turns_back_or_is_rolled_back(self) -> None:
        run = five(2)
        cancel_saga(run, reason="no")
        self.refused(
            fresh(run), "b", "is compensating.* neither completed, dead_letter nor running"
        )
        self.refused(drive(run), "b", "is cancelled")

    def test_a_dead_letter_that_has_begun_to_undo(self) -> None:
        run = five(2, undo_b="permanent")
        cancel_saga(run, reason="no")
        self.refused(drive(run), "b", "it has begun to undo")

    def test_while_it_rewinds(self) -> None:
        run = rewind_saga(five(3), to="c", reason="wrong")
        self.refused(run, "b", "is compensating")
        assert {"cancel", "compensate", "pause"} <= allowed_actions(run)

    def test_an_earlier_life(self) -> None:
        run = five(3)
        rewind_saga(run, to="c", reason="wrong")
        run = drive(run)
        self.refused(run, "c~1", "no such step")

    def test_a_step_that_stands_and_of_which_nobody_knows(self) -> None:
        run = start_saga(Beside, Script({"pay": "unknown"}), key="beside")
        run = drive(run)
        self.refused(run, "pack", "nobody knows whether pay happened")

    def test_an_input_of_another_type_changes_nothing(self) -> None:
        run = five(3)
        with pytest.raises(PayloadError):
            rewind_saga(run, to="c", input=Script(faults=3), reason="x")  # type: ignore[arg-type]
        assert fresh(run).state == SagaState.RUNNING
        assert StepRun.objects.filter(rewind__isnull=False).count() == 0

    def test_an_input_that_belongs_to_another_key(self) -> None:
        run = start_saga(Keyed, Order(1, 2))
        run_one(run)
        with pytest.raises(ActionNotAllowed, match="belongs to another key, 'order-2'"):
            rewind_saga(run, to="pick", input=Order(2, 2), reason="x")
        rewind_saga(run, to="pick", input=Order(1, 3), reason="x")
        run = drive(run)
        assert (run.input, run.tags) == ({"id": 1, "size": 3}, {"size": "3"})

    def test_a_step_that_can_no_longer_be_undone(self) -> None:
        run = drive(start_saga(Until, Script(), key="until"))
        self.refused(run, "reserve", "reserve can no longer be undone, and would be done twice")
        assert "confirm" in [s.name for s in run.steps.all()]


@dataclass(frozen=True)
class Order:
    id: int
    size: int


class Keyed(Saga[Order]):
    class Meta:
        label = "tests.RewindKeyed"
        key = "order-{input.id}"
        tags = {"size": "{input.size}"}

    @step
    def pick(self) -> None: ...

    pick.no_compensation("nothing is moved")


class Until(Traced):
    class Meta:
        label = "tests.RewindUntil"

    @step(compensable_until="confirm")
    def reserve(self) -> Receipt:
        return self.act("reserve")

    @reserve.compensation
    def undo_reserve(self, receipt: Receipt | None) -> None:
        self.undo("undo_reserve", receipt)

    @step
    def confirm(self) -> Receipt:
        return self.act("confirm")

    confirm.no_compensation("nothing undoes a word")


class TestInput:
    def test_whoever_starts_it_again_with_the_old_input_or_the_new_one_gets_the_run(self) -> None:
        run = five(3)
        rewind_saga(run, to="b", input=Script({"x": "y"}), reason="wrong")
        for _ in range(2):
            assert start_saga(Five, Script(), key="five").pk == run.pk
            assert start_saga(Five, Script({"x": "y"}), key="five").pk == run.pk
            drive(run)
        with pytest.raises(SagaConflict):
            start_saga(Five, Script({"x": "z"}), key="five")


class TestWhenUndoingFails:
    def test_the_saga_is_a_dead_letter_and_a_retry_goes_on_with_the_rewind(self) -> None:
        run = five(3, undo_b="permanent")
        rewind_saga(run, to="b", input=Script(), reason="wrong")
        run = drive(run)
        assert (run.state, run.rewind_to) == (SagaState.DEAD_LETTER, "b")
        SagaRun.objects.update(input={"faults": {}})
        CALLS.clear()
        retry_saga(run, reason="repaired")
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["undo_b(b)", "b", "c", "d", "e"]

    def test_an_operator_says_that_it_is_undone(self) -> None:
        run = five(3, undo_b="permanent")
        rewind_saga(run, to="b", input=Script(), reason="wrong")
        drive(run)
        skip_step(fresh(run), "b", reason="undone by hand")
        assert drive(run).state == SagaState.COMPLETED
        assert keys(run)["b"] == "/2:b"

    def test_an_operator_gives_the_rewind_up(self) -> None:
        run = five(3, undo_b="permanent")
        rewind_saga(run, to="b", input=Script(), reason="wrong")
        run = drive(run)
        assert "compensate" in allowed_actions(run)
        SagaRun.objects.update(input={"faults": {}})
        compensate_saga(run, reason="no more")
        run = drive(run)
        assert (run.state, run.rewinds, run.rewind_to) == (SagaState.COMPENSATED, None, "")
        assert CALLS[-2:] == ["undo_b(b)", "undo_a(a)"]
        assert not StepRun.objects.filter(rewind__isnull=False).exists()


class TestCancelWhileItRewinds:
    def test_everything_is_undone(self) -> None:
        run = five(4)
        rewind_saga(run, to="c", reason="wrong")
        run_one(run)
        cancel_saga(fresh(run), reason="no more")
        run = drive(run)
        assert run.state == SagaState.CANCELLED
        assert CALLS[4:] == ["undo_d(d)", "undo_c(c)", "undo_b(b)", "undo_a(a)"]
        assert run_events(run) == ["started", "rewinding", "turned_back", "cancelled"]

    def test_what_stood_is_undone_with_it_when_it_has_ended(self) -> None:
        run = diamond("start", "left")
        right = claimed(run, "right")
        rewind_saga(run, to="left", reason="wrong")
        cancel_saga(fresh(run), reason="no more")
        drive(run)
        assert fresh(run).state == SagaState.COMPENSATING
        record_outcome(right, Succeeded(output={"of": "right"}))
        assert drive(run).state == SagaState.CANCELLED
        assert CALLS[2:] == ["undo_left(left)", "undo_right(right)", "undo_start(start)"]

    def test_a_later_failure_undoes_the_new_life_and_not_the_old_one_again(self) -> None:
        run = five(3)
        rewind_saga(run, to="b", input=Script({"d": "permanent"}), reason="wrong")
        run = drive(run)
        assert run.state == SagaState.COMPENSATED
        assert CALLS[3:] == [
            *("undo_c(c)", "undo_b(b)", "b", "c", "d"),
            *("undo_c(c)", "undo_b(b)", "undo_a(a)"),
        ]
        assert CALLS.count("undo_a(a)") == 1


class TestEarlierLives:
    """An attempt of an earlier life, which had been given up, says its word after all."""

    def lost(self, **faults: str) -> tuple[SagaRun, StepRun]:
        run = five(2, **faults)
        attempt = claimed(run, "c")
        expire_lease(attempt.pk)
        recover.end_lost_attempts(10)
        rewind_saga(fresh(run), to="c", reason="its worker is gone")
        return run, attempt

    def test_it_is_undone_under_its_old_key_and_the_saga_goes_on(self) -> None:
        run, attempt = self.lost()
        run_one(run)
        run_one(run)
        assert CALLS[2:] == ["undo_c(None)", "c"]
        record_outcome(attempt, SURELY)
        assert fresh(run).state == SagaState.COMPENSATING
        assert fresh(run).explain().startswith("Undoing what came late, to go forward again,")
        run = drive(run)
        assert run.state == SagaState.COMPLETED
        assert CALLS[4:] == ["undo_c(late)", "d", "e"]
        assert run_events(run) == [
            "started",
            "rewinding",
            "rewound",
            "reopened",
            "rewound",
            "completed",
        ]
        assert states(run)["c~1"] == StepState.COMPENSATED

    def test_a_late_doubt_is_undone_as_well(self) -> None:
        run, attempt = self.lost()
        run_one(run)
        record_outcome(attempt, Failed(code="X", error="perhaps", in_doubt=True))
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[2:] == ["undo_c(None)", "undo_c(None)", "c", "d", "e"]

    def test_its_compensation_sees_the_input_of_its_life(self) -> None:
        run, attempt = self.lost(undo_c="once-network")
        drive(run)
        SagaRun.objects.update(input={"faults": {"undo_c": "bug"}})
        record_outcome(attempt, SURELY)
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[-2:] == ["undo_c", "undo_c(late)"]

    def test_a_completed_saga_is_completed_again(self) -> None:
        run, attempt = self.lost()
        assert drive(run).state == SagaState.COMPLETED
        record_outcome(attempt, SURELY)
        assert fresh(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[-1] == "undo_c(late)"

    def test_of_a_saga_that_was_rolled_back_it_is_undone_too(self) -> None:
        run, attempt = self.lost()
        drive(run)
        compensate_saga(fresh(run), reason="no", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED
        record_outcome(attempt, SURELY)
        assert fresh(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-1] == "undo_c(late)"

    def test_of_a_dead_letter_it_is_undone_before_the_saga_goes_on(self) -> None:
        run, attempt = self.lost()
        run_one(run)
        with_failure = claimed(run, "c")
        SagaRun.objects.filter(pk=run.pk).update(pivot_passed=True)
        record_outcome(with_failure, DEFINITELY_NOT)
        assert fresh(run).state == SagaState.DEAD_LETTER
        record_outcome(attempt, SURELY)
        retry_saga(fresh(run), reason="go on")
        assert fresh(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[2:] == ["undo_c(None)", "undo_c(late)", "c", "d", "e"]

    def test_while_it_rewinds_it_is_undone_before_the_saga_goes_forward(self) -> None:
        run, attempt = self.lost()
        record_outcome(attempt, SURELY)
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[2:] == ["undo_c(late)", "c", "d", "e"]

    def test_what_stands_beside_is_not_disturbed(self) -> None:
        run = diamond("start")
        attempt = claimed(run, "left")
        expire_lease(attempt.pk)
        recover.end_lost_attempts(10)
        record_outcome(right := claimed(run, "right"), Waiting())
        rewind_saga(fresh(run), to="left", reason="lost")
        drive(run)
        record_outcome(attempt, SURELY)
        assert drive(run).state == SagaState.RUNNING
        assert states(run)["right"] == StepState.WAITING
        assert step_of(run, "right").fence == right.fence
        assert CALLS[1:] == ["undo_left(None)", "left", "undo_left(late)"]

    @pytest.mark.parametrize("word", [SURELY, PERHAPS], ids=["surely", "perhaps"])
    @pytest.mark.parametrize("after", range(5))
    def test_wherever_its_word_comes_it_is_undone_under_its_key_and_the_rest_done_once(
        self, after: int, word: Outcome
    ) -> None:
        run, attempt = self.lost()
        for _ in range(after):
            run_one(run)
        before = len(CALLS)
        record_outcome(attempt, word)
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS[before] == ("undo_c(late)" if word is SURELY else "undo_c(None)")
        forward = [call for call in CALLS if not call.startswith("undo")]
        assert forward == ["a", "b", "c", "d", "e"]
        assert step_of(run, "c").state == StepState.SUCCEEDED

    def test_nobody_retries_or_settles_an_earlier_life(self) -> None:
        run = five(2)
        record_outcome(claimed(run, "c"), Failed(code="X", error="x", retryable=True))
        rewind_saga(fresh(run), to="c", reason="wrong")
        drive(run)
        for name in ("c~1",):
            with pytest.raises(ActionNotAllowed):
                skip_step(fresh(run), name, reason="no")
