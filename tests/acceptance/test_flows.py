"""Sagas in real worker processes, through the faults in which callbacks alone lose money."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sagas import start_saga
from sagas.models import SagaRun
from sagas.states import EventType, SagaState, StepState
from tests.conftest import WorkerFactory
from tests.driving import fresh, states, step_of
from tests.flows import ledger
from tests.flows.sagas import Limited, Orders, Parallel
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

Starter = Callable[..., SagaRun]

PATIENCE = 80
"""Seconds after which a run is stuck: far more than it takes, on a machine that is busy."""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def start(book: Path) -> Starter:
    def starter(**script: str) -> SagaRun:
        return start_saga(Parallel, Orders(str(book), script), key="one")

    return starter


def wait_until_it_turns_back(run: SagaRun) -> None:
    until = time.monotonic() + PATIENCE
    while fresh(run).state != SagaState.COMPENSATING:
        assert time.monotonic() < until, fresh(run).explain()
        time.sleep(0.02)


class TestParallelSteps:
    def test_both_succeed_and_the_next_fails_so_both_are_undone(
        self, start: Starter, book: Path, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        worker_factory(usual_broker)
        run = start(left="after=right", right="after=left", join="permanent").wait(PATIENCE)
        assert run.state == SagaState.COMPENSATED
        left, right = (ledger.wait_for(book, name) for name in ("left", "right"))
        assert left.at < ledger.wait_for(book, "right", phase="ended").at
        assert right.at < ledger.wait_for(book, "left", phase="ended").at
        # Which of the two ended last is chance.
        ended = run.steps.forward().filter(name__in=["left", "right"]).order_by("-ended_at")
        undone = [f"undo_{step.name}({step.name})" for step in ended]
        assert ledger.began(book)[-3:] == [*undone, "undo_start(start)"]

    def test_one_fails_while_its_sibling_runs_which_ends_first_and_is_undone_then(
        self, start: Starter, book: Path, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        worker_factory(usual_broker)
        run = start(left="after=right,permanent", right="after=turned")
        wait_until_it_turns_back(run)
        assert states(run)["right"] == StepState.RUNNING
        ledger.say(book, "turned", of=run.pk)
        assert run.wait(PATIENCE).state == SagaState.COMPENSATED
        ended = ledger.wait_for(book, "right", phase="ended")
        assert ended.at < ledger.wait_for(book, "undo_right(right)").at
        assert ledger.began(book)[-2:] == ["undo_right(right)", "undo_start(start)"]

    def test_both_fail_and_there_is_one_undo_chain(
        self, start: Starter, book: Path, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        worker_factory(usual_broker)
        both = {"left": "after=right,permanent", "right": "after=left,permanent"}
        run = start(**both).wait(PATIENCE)
        assert run.state == SagaState.COMPENSATED
        assert [w for w in ledger.began(book) if w.startswith("undo")] == ["undo_start(start)"]


class TestLogs:
    def test_every_line_of_a_handler_carries_the_saga_and_the_step(
        self, start: Starter, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        worker = worker_factory(usual_broker)
        run = start(join="permanent").wait(PATIENCE)
        lines = worker.log.read_text().splitlines()
        for name, step in (("left", "left"), ("undo_left(left)", "undo of left")):
            begins = [line for line in lines if line.endswith(f": {name} begins")]
            assert len(begins) == 1
            assert f"[{run.pk} {step}]" in begins[0]


class TestKilledWorkers:
    def test_a_killed_child_is_noticed_and_the_step_runs_again_with_the_same_key(
        self, start: Starter, book: Path, worker_factory: WorkerFactory, any_broker: str
    ) -> None:
        # If the callback and the sweep missed the death, the lease would be noticed in minutes.
        worker_factory(any_broker, settings={"LEASE_SECONDS": 600.0})
        run = start(left="kill-once").wait(PATIENCE)
        assert run.state == SagaState.COMPLETED
        attempts = [e for e in ledger.read(book) if (e.what, e.phase) == ("left", "began")]
        assert [e.attempt for e in attempts] == [1, 2]
        assert len({e.key for e in attempts}) == 1

    def test_when_the_attempts_are_spent_the_outcome_is_unknown_and_undone(
        self, start: Starter, book: Path, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        worker_factory(usual_broker, settings=QUICK)
        run = start(left="kill").wait(PATIENCE)
        assert run.state == SagaState.COMPENSATED
        assert run.error_code == "WORKER_LOST"
        assert states(run)["left"] == StepState.COMPENSATED
        assert step_of(run, "left").attempt == 2
        undone = [w for w in ledger.began(book) if w.startswith("undo")]
        assert "undo_left(None)" in undone
        assert undone[-1] == "undo_start(start)"

    def test_a_killed_worker_is_noticed_within_its_lease_whatever_the_time_limit(
        self, start: Starter, book: Path, worker_factory: WorkerFactory, any_broker: str
    ) -> None:
        worker = worker_factory(any_broker, settings=QUICK)
        run = start(left="sleep=600-once")
        ledger.wait_for(book, "left")
        worker.kill()
        worker_factory(any_broker, settings=QUICK)
        assert run.wait(PATIENCE).state == SagaState.COMPLETED
        again = [e for e in ledger.read(book) if (e.what, e.phase) == ("left", "began")]
        assert len(again) == 2


class TestInPlace:
    """One message carries both steps; each keeps its own time limit."""

    def test_the_second_step_of_a_message_is_killed_at_its_own_limit_and_tried_again(
        self, book: Path, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        worker = worker_factory(usual_broker)
        script = {"second": "sleep=600-once"}
        run = start_saga(Limited, Orders(str(book), script), key="one").wait(PATIENCE)
        assert run.state == SagaState.COMPLETED
        began = [e.what for e in ledger.read(book) if e.phase == "began"]
        assert began == ["first", "second", "second"]
        claimed = run.events.filter(type=EventType.STEP_CLAIMED, step__name="second")
        assert [event.from_state for event in claimed] == [StepState.PENDING, StepState.READY]
        assert run.events.get(type=EventType.STEP_RETRYING).note.startswith("STEP_TIMEOUT")
        assert "ran past its time_limit; its process ends" in worker.log.read_text()
