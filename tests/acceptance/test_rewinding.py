"""A rewind in real worker processes that are killed while it undoes, and when it goes forward again."""

from collections import Counter
from pathlib import Path

import pytest

from sagas import start_saga
from sagas.operations import rewind_saga
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.sagas import Orders, Parallel
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

PATIENCE = 80
"""Seconds after which a run is stuck: far more than it takes, on a machine that is busy."""


@pytest.mark.parametrize("who", ["child", pytest.param("worker", marks=pytest.mark.slow)])
def test_what_is_killed_in_a_rewind_is_undone_under_the_old_keys_and_done_under_the_new_ones(
    who: str, tmp_path: Path, worker_factory: WorkerFactory, usual_broker: str
) -> None:
    book = tmp_path / "ledger.jsonl"
    worker = worker_factory(usual_broker, settings=QUICK)
    fault = "sleep=600-once" if who == "worker" else "kill-once"
    first = Orders(str(book), {"undo_left(left)": fault})
    run = start_saga(Parallel, first, key="one").wait(PATIENCE)
    rewind_saga(run, to="left", input=Orders(str(book), {"left": "kill-once"}), reason="wrong")
    if who == "worker":
        ledger.wait_for(book, "undo_left(left)")
        worker.kill()
        worker_factory(usual_broker, settings=QUICK)
    # It was completed before: what is waited for is the end of the second life.
    ledger.wait_for(book, "join", phase="ended", of=f"{run.pk}/2", timeout=PATIENCE)
    assert run.wait(PATIENCE).state == SagaState.COMPLETED
    told = [(entry.key.removeprefix(str(run.pk)), entry.phase) for entry in ledger.read(book)]
    ended = [key for key, phase in told if phase == "ended"]
    assert Counter(ended[:4]) == Counter([":start", ":left", ":right", ":join"])
    assert ended[4:] == [":left:undo", "/2:left", "/2:join"]
    assert told.count((":left:undo", "began")) == 2
    assert told.count(("/2:left", "began")) == 2
