"""Sagas in a second database: what one shard of several is (docs/scaling.md)."""

from collections.abc import Iterator

import pytest

from sagas import start_saga, start_sagas
from sagas.engine import recover
from sagas.engine.transitions import claim
from sagas.models import SagaEvent, SagaRun, StepRun, SweepRecord
from sagas.operations import cancel_saga, retry_saga
from sagas.states import SagaState
from tests.driving import drive, expire_lease, step_of
from tests.shards import routed_to
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard"])


@pytest.fixture(autouse=True)
def _in_the_shard(messages: list[str]) -> Iterator[None]:
    with routed_to("shard"):
        yield
    for model in (SagaRun, StepRun, SagaEvent, SweepRecord):
        assert not model.objects.using("default").exists()


def test_a_saga_completes_on_a_shard() -> None:
    run = drive(start_saga(Five, Script(), key="k"))
    assert run.is_completed
    assert SagaRun.objects.using("shard").count() == 1


def test_many_sagas_are_started_on_a_shard() -> None:
    runs = start_sagas(Five, [Script()] * 3, keys=["a", "b", "c"])
    assert [drive(run).state for run in runs] == [SagaState.COMPLETED] * 3


def test_a_failure_is_undone_on_a_shard() -> None:
    assert drive(start_saga(Five, Script({"d": "permanent"}), key="k")).is_compensated


def test_a_lost_worker_is_noticed_on_a_shard() -> None:
    run = start_saga(Five, Script(), key="k")
    assert claim(step_of(run, "a").pk, 0, task_id="", worker="w") is not None
    expire_lease(step_of(run, "a").pk)
    assert recover.sweep().lost == 1
    assert drive(run).is_completed


def test_people_act_on_a_shard() -> None:
    run = start_saga(Five, Script({"undo_a": "permanent", "b": "permanent"}), key="k")
    assert drive(run).state == SagaState.DEAD_LETTER
    retry_saga(run, actor="ops", reason="again")
    other = start_saga(Five, Script(), key="other")
    cancel_saga(other, actor="ops", reason="no")
    assert SagaRun.objects.get(pk=other.pk).state == SagaState.CANCELLED
