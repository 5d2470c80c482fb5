"""Whatever left an active saga with nothing to do, it goes on, or a human hears of it (R31)."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from sagas import start_saga
from sagas.engine import compensate, recover, stalled
from sagas.models import SagaRun, StepRun, SweepRecord
from sagas.operations import pause_saga, retry_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, states
from tests.traced import CALLS, Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = Now() - timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _anew(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "_search", stalled.Search())


def looked() -> recover.SweepReport:
    """Sweep when it is time to look."""
    SweepRecord.objects.update(looked_at=LONG_AGO)
    return recover.sweep()


def stall(run: SagaRun, **columns: Any) -> SagaRun:
    """Let nothing be left to do, as a bug or a human with SQL would."""
    ready = StepRun.objects.filter(run=run, state=StepState.READY)
    ready.update(**{"state": StepState.PENDING, "pending_predecessors": 1, **columns})
    SagaRun.objects.filter(pk=run.pk).update(updated_at=LONG_AGO)
    return run


def forward() -> SagaRun:
    run = start_saga(Five, Script(), key="k")
    run_one(run)
    return stall(run)


def backward() -> SagaRun:
    run = start_saga(Five, Script({"c": "permanent"}), key="k")
    for _ in range(3):
        run_one(run)
    assert fresh(run).is_compensating
    return stall(run)


def test_a_stalled_saga_that_goes_forward_goes_on_and_repeats_nothing() -> None:
    run = forward()
    deadline = fresh(run).deadline
    assert looked().stalled == 1
    assert fresh(run).deadline == deadline
    assert drive(run).state == SagaState.COMPLETED
    assert CALLS == ["a", "b", "c", "d", "e"]


def test_a_stalled_saga_that_turns_back_is_undone() -> None:
    run = backward()
    assert looked().stalled == 1
    assert drive(run).state == SagaState.COMPENSATED
    assert CALLS[3:] == ["undo_b(b)", "undo_a(a)"]


def test_a_stalled_saga_whose_undoing_was_never_planned_is_undone() -> None:
    run = backward()
    StepRun.objects.backward().filter(run=run).delete()
    assert looked().stalled == 1
    assert drive(run).state == SagaState.COMPENSATED
    assert CALLS[3:] == ["undo_b(b)", "undo_a(a)"]


def test_a_ready_step_of_the_other_direction_moves_no_stalled_saga() -> None:
    run = backward()
    StepRun.objects.forward().filter(run=run, name="d").update(
        state=StepState.READY, due_at=Now(), send_at=Now()
    )
    assert looked().stalled == 1
    assert drive(run).state == SagaState.COMPENSATED


def test_a_stalled_saga_is_told_in_the_history_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = forward()
    looked()
    assert run.events.filter(type=EventType.STALLED).count() == 1
    (told,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert str(run.pk) in told.getMessage()


@pytest.mark.parametrize(
    "moves",
    [
        lambda _: None,
        lambda run: claimed(run, "a"),
        lambda run: pause_saga(run, reason="x"),
        lambda run: StepRun.objects.filter(run=run, name="a").update(state=StepState.WAITING),
        lambda run: SagaRun.objects.filter(pk=run.pk).update(state=SagaState.DEAD_LETTER),
    ],
    ids=["ready", "running", "paused", "waiting", "dead letter"],
)
def test_a_saga_that_only_waits_is_not_stalled(moves: Any) -> None:
    run = start_saga(Five, Script(), key="k")
    moves(run)
    SagaRun.objects.filter(pk=run.pk).update(updated_at=LONG_AGO)
    assert looked().stalled == 0
    assert not run.events.filter(type=EventType.STALLED).exists()


@pytest.mark.parametrize("fault", ["raises", "does nothing"])
def test_a_stalled_saga_that_leads_nowhere_is_left_to_a_human(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = forward()

    def useless(_: object) -> None:
        if fault == "raises":
            raise AssertionError("no arrow leads there")

    with monkeypatch.context() as patched:
        patched.setattr("sagas.engine.forward.resume_forward", useless)
        patched.setattr(compensate, "begin_undo_if_idle", useless)
        assert looked().stalled == 1
    run = fresh(run)
    assert (run.state, run.error_code) == (SagaState.DEAD_LETTER, "STALLED")
    assert states(run)["a"] == StepState.SUCCEEDED
    retry_saga(run, reason="x")
    assert drive(run).state == SagaState.COMPLETED


def test_stalled_sagas_are_looked_for_twice_a_minute_and_not_in_every_sweep() -> None:
    recover.sweep()
    run = forward()
    assert recover.sweep().stalled == 0
    assert looked().stalled == 1
    assert fresh(run).state == SagaState.RUNNING


def test_each_active_saga_is_looked_at_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stalled, "WINDOW", 2)
    for number in range(5):
        start_saga(Five, Script(), key=str(number))
    forward()
    assert [looked().stalled for _ in range(4)] == [0, 0, 1, 0]
