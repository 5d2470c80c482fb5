"""A saga that is a step of another one, on real workers (R11)."""

from pathlib import Path

import pytest
from pytest_django import Settings

from sagas import start_saga
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.sagas import Nest, Orders
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance]


@pytest.fixture(autouse=True)
def _sent_again_soon(settings: Settings) -> None:
    settings.SAGAS = {**settings.SAGAS, **QUICK}


def test_a_child_that_is_completed_is_undone_in_reverse_when_its_parent_fails(
    tmp_path: Path, worker_factory: WorkerFactory, usual_broker: str
) -> None:
    book = tmp_path / "ledger"
    worker_factory(usual_broker, settings=QUICK)
    run = start_saga(Nest, Orders(str(book), {"last": "permanent"}), key="one")
    assert run.wait(60).state == SagaState.COMPENSATED
    undone = ["undo_two(two)", "undo_one(one)", "undo_first(first)"]
    assert ledger.began(book) == ["first", "pair", "one", "two", "last", *undone]
    assert run.children.get().state == SagaState.COMPENSATED


def test_there_is_one_child_although_workers_are_killed_in_it_and_while_it_is_started(
    tmp_path: Path, worker_factory: WorkerFactory, usual_broker: str
) -> None:
    book = tmp_path / "ledger"
    worker_factory(usual_broker, settings=QUICK)
    script = {"pair": "kill-once", "two": "kill-once"}
    run = start_saga(Nest, Orders(str(book), script), key="one")
    assert run.wait(90).state == SagaState.COMPLETED
    assert ledger.began(book) == ["first", "pair", "pair", "one", "two", "two", "last"]
    assert run.children.get().state == SagaState.COMPLETED
