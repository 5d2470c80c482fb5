"""A saga's way forward and back, step by step, without a broker (R1-R4, R7, R12, R16, R39-R50)."""

import re

import pytest
from django.db import IntegrityError

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.transitions import claim
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import retry_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, fresh, run_one, states, step_of
from tests.traced import CALLS, Diamond, Five, Receipt, Script


pytestmark = pytest.mark.django_db


def five(**faults: str) -> SagaRun:
    return start_saga(Five, Script(faults), key="k")


def diamond(**faults: str) -> SagaRun:
    return start_saga(Diamond, Script(faults), key="k")


class TestForward:
    def test_a_new_run_has_its_rows_in_order_with_action_and_compensation(self) -> None:
        run = five()
        rows = list(run.steps.all())
        assert [(r.position, r.handler, r.compensation) for r in rows] == [
            (i, name, f"undo_{name}") for i, name in enumerate("abcde")
        ]
        assert [r.state for r in rows] == ["ready", "pending", "pending", "pending", "pending"]
        assert run.state == SagaState.RUNNING
        assert run.completed_at is None

    def test_a_run_does_its_steps_in_order_and_completes(self) -> None:
        run = drive(five())
        assert list("abcde") == CALLS
        assert run.state == SagaState.COMPLETED
        assert run.is_completed
        assert run.completed_at is not None
        assert run.outcome == "completed"
        assert set(states(run).values()) == {StepState.SUCCEEDED}

    def test_finished_and_failed_steps_can_be_asked_for(self) -> None:
        run = five(c="permanent")
        assert run.next_step() == step_of(run, "a")
        run_one(run)
        run_one(run)
        assert [s.name for s in run.completed_steps()] == ["a", "b"]
        run_one(run)
        assert [s.name for s in run.failed_steps()] == ["c"]

    def test_ids_sort_by_creation(self) -> None:
        runs = [start_saga(Five, Script(), key=str(n)) for n in range(50)]
        assert [r.pk for r in runs] == sorted(r.pk for r in runs)
        assert list(SagaRun.objects.order_by("id")) == runs


class TestTurningBack:
    @pytest.mark.parametrize("failing", range(5))
    def test_what_ran_is_undone_in_strict_reverse_order(self, failing: int) -> None:
        names = "abcde"
        run = drive(five(**{names[failing]: "permanent"}))
        done = names[:failing]
        assert list(names[: failing + 1]) == CALLS[: failing + 1]
        assert CALLS[failing + 1 :] == [f"undo_{n}({n})" for n in reversed(done)]
        assert run.state == SagaState.COMPENSATED
        assert run.outcome == "failed"
        assert (run.failed_step, run.error_code) == (names[failing], "REFUSED")

    def test_the_states_of_the_steps_tell_what_became_of_each(self) -> None:
        run = drive(five(c="permanent"))
        assert states(run) == {
            "a": "compensated",
            "b": "compensated",
            "c": "failed",
            "d": "cancelled",
            "e": "cancelled",
        }

    def test_a_permanent_error_is_not_retried(self) -> None:
        run = drive(five(b="permanent"))
        assert step_of(run, "b").attempt == 1

    def test_any_other_error_is_a_definite_failure(self) -> None:
        run = drive(five(b="bug"))
        assert step_of(run, "b").state == StepState.FAILED
        assert run.error_code == "KeyError"
        assert CALLS == ["a", "b", "undo_a(a)"]

    def test_a_network_error_is_retried_and_then_its_outcome_is_unknown_and_undone(self) -> None:
        run = drive(five(b="network"))
        assert CALLS == ["a", "b", "b", "b", "undo_b(None)", "undo_a(a)"]
        assert run.state == SagaState.COMPENSATED
        assert step_of(run, "b").state == StepState.COMPENSATED
        assert step_of(run, "b").in_doubt

    def test_a_compensation_that_finds_nothing_to_undo_has_succeeded(self) -> None:
        run = drive(five(c="permanent", undo_b="gone"))
        assert run.state == SagaState.COMPENSATED
        assert CALLS == ["a", "b", "c", "undo_b", "undo_a(a)"]
        assert step_of(run, "b").state == StepState.COMPENSATED
        assert step_of(run, "b", direction="backward").attempt == 1

    def test_the_stored_error_tells_how_often_it_was_tried_and_the_cause(self) -> None:
        run = drive(five(b="network"))
        said = "failed after 3 attempts: b did not answer"
        assert (run.error, run.error_code) == (said, "ConnectionError")
        assert step_of(run, "b").error == said
        assert said in run.explain()

    def test_the_stored_error_of_a_step_tried_once_tells_the_cause_alone(self) -> None:
        assert drive(five(b="permanent")).error == "b refused"

    def test_the_stored_error_of_a_compensation_tells_how_often_it_was_tried_too(self) -> None:
        run = drive(five(c="permanent", undo_b="network"))
        assert run.state == SagaState.DEAD_LETTER
        assert re.fullmatch(r"undo_b: failed after \d+ attempts: .*", run.compensation_error)

    def test_a_network_error_that_passes_leaves_no_trace(self) -> None:
        run = drive(five(b="once-network"))
        assert CALLS == ["a", "b", "b", "c", "d", "e"]
        assert run.state == SagaState.COMPLETED

    def test_an_unknown_outcome_is_undone_without_a_result(self) -> None:
        run = drive(five(b="unknown"))
        assert CALLS == ["a", "b", "undo_b(None)", "undo_a(a)"]
        assert run.state == SagaState.COMPENSATED

    def test_doubt_of_an_earlier_attempt_outlives_a_later_definite_error(self) -> None:
        run = five(b="once-network")
        run_one(run)
        run_one(run)
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {"b": "permanent"}})
        drive(run)
        assert CALLS == ["a", "b", "b", "undo_b(None)", "undo_a(a)"]

    def test_a_compensation_gets_the_cause(self) -> None:
        run = drive(five(c="permanent"))
        assert run.error == "c refused"
        assert run.failed_at is not None


class TestGraph:
    def test_a_join_waits_for_both_branches(self) -> None:
        run = diamond()
        run_one(run)
        run_one(run, "right")
        assert step_of(run, "join").state == StepState.PENDING
        run_one(run, "left")
        assert step_of(run, "join").state == StepState.READY
        assert drive(run).state == SagaState.COMPLETED

    def test_both_branches_succeed_and_the_join_fails_so_both_are_undone(self) -> None:
        run = diamond(join="permanent")
        for name in ("start", "right", "left"):
            run_one(run, name)
        drive(run)
        assert CALLS[-3:] == ["undo_left(left)", "undo_right(right)", "undo_start(start)"]

    def test_a_sibling_in_flight_ends_first_and_is_undone_then(self) -> None:
        run = diamond(left="permanent")
        run_one(run)
        right = step_of(run, "right")
        claimed = claim(right.pk, right.fence, task_id="", worker="")
        assert claimed is not None
        run_one(run, "left")
        assert fresh(run).state == SagaState.COMPENSATING
        assert not run.steps.backward().exists()
        record_outcome(claimed, Succeeded(output={"of": "right"}))
        drive(run)
        assert CALLS == ["start", "left", "undo_right(right)", "undo_start(start)"]
        assert fresh(run).state == SagaState.COMPENSATED

    def test_both_branches_fail_and_there_is_one_undo_chain(self) -> None:
        run = diamond()
        run_one(run)
        claims = []
        for name in ("left", "right"):
            row = step_of(run, name)
            claims.append(claim(row.pk, row.fence, task_id="", worker=""))
        for claimed in claims:
            assert claimed is not None
            record_outcome(claimed, Failed(code="X", error="x"))
        run = drive(run)
        assert CALLS == ["start", "undo_start(start)"]
        assert run.failed_step == "left"
        assert run.events.filter(type=EventType.TURNED_BACK).count() == 1

    def test_a_false_condition_skips_the_step_for_good(self) -> None:
        run = drive(diamond(wants_right="no", join="permanent"))
        assert "right" not in CALLS
        assert CALLS[-2:] == ["undo_left(left)", "undo_start(start)"]
        assert states(run)["right"] == StepState.SKIPPED


class TestPivot:
    def test_a_failing_pivot_rolls_back(self) -> None:
        assert drive(diamond(pivot="permanent")).state == SagaState.COMPENSATED

    def test_after_the_pivot_nothing_is_undone(self) -> None:
        run = drive(diamond(ship="permanent"))
        assert run.state == SagaState.DEAD_LETTER
        assert run.pivot_passed
        assert not run.steps.backward().exists()
        assert run.failed_step == "ship"

    def test_a_pivot_of_unknown_outcome_waits_for_a_human(self) -> None:
        run = drive(diamond(pivot="unknown"))
        assert run.state == SagaState.DEAD_LETTER
        assert run.explain().startswith("Needs an operator: pivot")

    def test_a_retry_past_the_pivot_resumes_exactly_at_the_failed_step(self) -> None:
        run = drive(diamond(ship="permanent"))
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
        del CALLS[:]
        retry_saga(run, reason="fixed")
        run = drive(run)
        assert CALLS == ["ship", "tell"]
        assert run.state == SagaState.COMPLETED
        assert run.error == ""

    def test_a_best_effort_step_fails_and_the_saga_completes_with_a_warning(self) -> None:
        run = drive(diamond(tell="permanent"))
        assert run.state == SagaState.COMPLETED
        assert run.has_warnings
        assert run in SagaRun.objects.needs_attention()
        assert states(run)["tell"] == StepState.FAILED


class TestDeadLetter:
    def test_a_compensation_that_fails_for_good_stops_the_chain(self) -> None:
        run = drive(five(d="permanent", undo_b="permanent"))
        assert run.state == SagaState.DEAD_LETTER
        assert run.error == "d refused"
        assert run.compensation_error == "undo_b: undo_b refused"
        assert states(run, "backward") == {"c": "succeeded", "b": "failed", "a": "pending"}

    def test_a_retry_resumes_at_the_failed_compensation_only(self) -> None:
        run = drive(five(d="permanent", undo_b="permanent"))
        key = step_of(run, "b", direction="backward").idempotency_key
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {"d": "permanent"}})
        del CALLS[:]
        retry_saga(run, reason="fixed")
        run = drive(run)
        assert CALLS == ["undo_b(b)", "undo_a(a)"]
        assert run.state == SagaState.COMPENSATED
        assert run.retry_count == 1
        assert step_of(run, "b", direction="backward").idempotency_key == key


class TestHistory:
    @pytest.mark.parametrize(
        "faults", [{}, {"c": "permanent"}, {"b": "network"}, {"d": "bug", "undo_b": "permanent"}]
    )
    def test_replaying_the_events_gives_the_states_of_the_rows(
        self, faults: dict[str, str]
    ) -> None:
        run = drive(five(**faults))
        run_state, step_states = (
            "",
            dict.fromkeys(run.steps.values_list("pk", flat=True), "pending"),
        )
        for event in run.events.exclude(to_state=""):
            if event.step_id is None:
                assert event.from_state == run_state
                run_state = event.to_state
            else:
                assert event.from_state == step_states[event.step_id]
                step_states[event.step_id] = event.to_state
        assert run_state == run.state
        assert step_states == dict(run.steps.values_list("pk", "state"))

    def test_every_attempt_saw_the_same_key_and_the_compensation_another(self) -> None:
        run = drive(five(b="network"))
        assert step_of(run, "b").idempotency_key == f"{run.pk}:b"
        assert step_of(run, "b", direction="backward").idempotency_key == f"{run.pk}:b:undo"


class TestRows:
    def test_the_database_refuses_an_unknown_state(self) -> None:
        run = five()
        with pytest.raises(IntegrityError):
            SagaRun.objects.filter(pk=run.pk).update(state="lost")

    def test_the_database_refuses_a_second_row_of_a_step(self) -> None:
        run = five()
        with pytest.raises(IntegrityError):
            StepRun.objects.create(
                run=run, name="a", direction="forward", position=9, handler="a", idempotency_key="x"
            )

    def test_results_come_back_typed(self) -> None:
        run = five()
        run_one(run)
        assert step_of(run, "a").output == {"of": "a"}
        assert Five.definition.step("a").result_codec.load({"of": "a"}) == Receipt("a")

    def test_events_are_written_with_the_change_they_tell_of(self) -> None:
        run = five()
        run_one(run)
        types = list(SagaEvent.objects.filter(run=run).values_list("type", flat=True))
        assert types == ["started", "step_ready", "step_claimed", "step_succeeded", "step_ready"]


class TestCompensationPolicy:
    def test_a_compensation_has_retries_of_its_own(self) -> None:
        run = drive(five(d="permanent", undo_b="network"))
        assert step_of(run, "b", direction="backward").attempt == 6
        assert step_of(run, "d").attempt == 1
        assert run.state == SagaState.DEAD_LETTER
