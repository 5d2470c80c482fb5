"""What an operator asks for: cancel and compensate (R45, R47, R48, R49, R59)."""

from functools import partial

import pytest
from django.db.models import F
from django.db.models.functions import Now

from sagas import start_saga
from sagas.conf import MAX_ERROR_LENGTH
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, compensate_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, states, step_of, won
from tests.races import TIMES, racers
from tests.traced import CALLS, Diamond, Five, Script
from tests.typed import TwoDoors, Words


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def five(done: int = 0, **faults: str) -> SagaRun:
    """A saga whose first ``done`` steps have run."""
    run = start_saga(Five, Script(faults), key="k")
    for _ in range(done):
        run_one(run)
    return run


class TestCancel:
    @pytest.mark.parametrize("done", range(5))
    def test_what_ran_is_undone_in_reverse_and_nothing_new_starts(self, done: int) -> None:
        run = five(done)
        cancelled = cancel_saga(run, reason="changed my mind", actor="ann")
        run = drive(run)
        names = "abcde"[:done]
        assert cancelled.state == (SagaState.COMPENSATING if done else SagaState.CANCELLED)
        assert [*names, *[f"undo_{name}({name})" for name in reversed(names)]] == CALLS
        assert (run.state, run.outcome) == (SagaState.CANCELLED, "cancelled")
        expected = ["compensated"] * done + ["cancelled"] * (5 - done)
        assert list(states(run).values()) == expected

    @pytest.mark.parametrize("done", range(5))
    def test_a_step_in_flight_ends_first_and_is_undone_then(self, done: int) -> None:
        run = five(done)
        name = "abcde"[done]
        attempt = claimed(run, name)
        cancel_saga(run, reason="changed my mind")
        assert fresh(run).state == SagaState.COMPENSATING
        assert not run.steps.backward().exists()
        record_outcome(attempt, Succeeded(output={"of": name}))
        run = drive(run)
        assert CALLS[done:] == [f"undo_{n}({n})" for n in reversed("abcde"[: done + 1])]
        assert run.state == SagaState.CANCELLED

    def test_a_step_between_two_attempts_may_have_happened_and_is_undone(self) -> None:
        run = five(1, b="network")
        run_one(run)
        cancel_saga(run, reason="changed my mind")
        run = drive(run)
        assert CALLS == ["a", "b", "undo_b(None)", "undo_a(a)"]
        assert run.state == SagaState.CANCELLED

    def test_the_cause_and_who_asked_are_kept(self) -> None:
        run = cancel_saga(five(1), reason="changed my mind", actor="ann")
        assert (run.error_code, run.error) == ("CANCELLED", "changed my mind")
        event = run.events.get(type=EventType.TURNED_BACK)
        assert (event.actor, event.note) == ("ann", "changed my mind")

    def test_the_compensations_run_to_the_end_although_the_deadline_has_passed_too(self) -> None:
        run = five(3)
        cancel_saga(run, reason="changed my mind")
        SagaRun.objects.filter(pk=run.pk).update(deadline=Now() - (F("deadline") - Now()))
        assert recover.sweep().expired == 0
        run_one(run)
        assert recover.sweep().expired == 0
        run = drive(run)
        assert CALLS[3:] == ["undo_c(c)", "undo_b(b)", "undo_a(a)"]
        assert run.state == SagaState.CANCELLED

    def test_a_cancel_is_refused_from_the_start_of_the_pivot(self) -> None:
        run = start_saga(Diamond, Script(), key="d")
        for name in ("start", "left", "right", "join"):
            run_one(run, name)
        attempt = claimed(run, "pivot")
        with pytest.raises(ActionNotAllowed, match="point of no return"):
            cancel_saga(run, reason="too late")
        record_outcome(attempt, Succeeded(output={"of": "pivot"}))
        with pytest.raises(ActionNotAllowed, match="point of no return"):
            cancel_saga(run, reason="too late")
        assert drive(run).state == SagaState.COMPLETED

    @pytest.mark.postgres
    def test_a_cancel_and_the_last_outcome_at_once_leave_one_winner(self) -> None:
        with racers(2) as runners:
            for number in range(TIMES):
                run = start_saga(TwoDoors, Words("x"), key=str(number))
                StepRun.objects.filter(run=run).exclude(name="join").update(state="succeeded")
                StepRun.objects.filter(run=run, name="join").update(
                    state="ready", due_at=Now(), send_at=Now()
                )
                attempt = claimed(run, "join")
                answers = runners.race(
                    partial(cancel_saga, run, reason="changed my mind"),
                    partial(won, attempt, Succeeded(output=None)),
                )
                ended = fresh(run).state
                assert answers[1] is True
                if isinstance(answers[0], ActionNotAllowed):
                    assert ended == SagaState.COMPLETED
                else:
                    assert ended == SagaState.CANCELLED


class TestCompensate:
    @pytest.mark.parametrize("done", range(5))
    def test_a_compensated_saga_ends_as_after_a_failure(self, done: int) -> None:
        run = five(done)
        compensate_saga(run, reason="wrong address", actor="ann")
        run = drive(run)
        assert CALLS[done:] == [f"undo_{n}({n})" for n in reversed("abcde"[:done])]
        assert (run.state, run.outcome) == (SagaState.COMPENSATED, "failed")
        assert (run.error_code, run.error) == ("COMPENSATED_BY_HAND", "wrong address")

    def test_compensating_twice_is_compensating_once(self) -> None:
        run = five(2)
        compensate_saga(run, reason="wrong address")
        with pytest.raises(ActionNotAllowed, match="is compensating"):
            compensate_saga(run, reason="wrong address")
        drive(run)
        assert CALLS == ["a", "b", "undo_b(b)", "undo_a(a)"]
        assert run.events.filter(type=EventType.TURNED_BACK).count() == 1


class TestErrorText:
    """R59: what is stored is valid UTF-8 of at most 2048 bytes."""

    def test_a_long_error_is_cut_wherever_it_is_stored(self) -> None:
        long = "é" * 5_000
        run = start_saga(TwoDoors, Words(long), key="k")
        cut = drive(run)
        texts = [cut.error, step_of(run, "left").error]
        texts += list(run.events.values_list("note", flat=True))
        assert all(len(text.encode()) <= MAX_ERROR_LENGTH for text in texts)
        assert cut.error.startswith("é" * 1_000)
        assert step_of(run, "left").error == cut.error

    @pytest.mark.parametrize("verb", [cancel_saga, compensate_saga])
    def test_a_long_reason_is_cut(self, verb: object) -> None:
        assert callable(verb)
        run = verb(five(1), reason="é" * 5_000)
        assert len(run.error.encode()) <= MAX_ERROR_LENGTH
        assert run.events.get(type=EventType.TURNED_BACK).note == run.error

    def test_a_long_error_of_a_compensation_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = five(2, c="permanent", undo_a="permanent")
        monkeypatch.setattr("tests.traced.PermanentError.__str__", lambda _: "é" * 5_000)
        run = drive(run)
        assert run.state == SagaState.DEAD_LETTER
        assert len(run.compensation_error.encode()) <= MAX_ERROR_LENGTH
        assert "é" * 500 in run.compensation_error
        assert step_of(run, "a", direction="backward").state == StepState.FAILED
