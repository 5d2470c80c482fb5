"""While old and new workers run side by side, each saga finds those that can carry it (R9, R53, R57)."""

from pathlib import Path
from statistics import median

import pytest

from sagas import start_saga, start_sagas
from sagas.definitions import registry
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.releases import First, Priced, paying_first, paying_second
from tests.flows.sagas import Deployed, Orders


OLD = {"SAGAS_TEST_OLD_RELEASE": "1"}
SAGAS = 12
EACH = 6


@pytest.mark.acceptance
@pytest.mark.redis
def test_a_message_that_an_old_worker_throws_away_is_sent_again_soon(
    tmp_path: Path, redis_broker: str, worker_factory: WorkerFactory
) -> None:
    for _ in range(2):
        worker_factory(redis_broker, environment=OLD, concurrency=1)
    new = worker_factory(redis_broker, concurrency=1)
    book = str(tmp_path / "ledger")
    runs = [start_saga(Deployed, Orders(book), key=str(number)) for number in range(SAGAS)]
    lives = []
    for run in runs:
        ended = run.wait(90)
        assert ended.state == SagaState.COMPLETED
        assert ended.completed_at is not None
        lives.append((ended.completed_at - ended.created_at).total_seconds())
    # Without it each send that meets an old worker costs ten seconds and more.
    assert median(lives) < 10
    assert "Received unregistered task" not in new.log.read_text()


@pytest.mark.acceptance
@pytest.mark.redis
def test_a_renamed_step_and_another_input_are_carried_by_old_and_new_workers(
    tmp_path: Path, redis_broker: str, worker_factory: WorkerFactory
) -> None:
    for release in ("1", "2"):
        environment = {"SAGAS_TEST_RELEASE": release}
        worker_factory(redis_broker, environment=environment, concurrency=1, wait=False)
    book = str(tmp_path / "ledger")
    keys = [str(number) for number in range(EACH)]
    with registry.isolated():
        old = start_sagas(paying_first(), [First(book)] * EACH, keys=[f"old-{k}" for k in keys])
    with registry.isolated():
        new = start_sagas(
            paying_second(), [Priced(book, "USD")] * EACH, keys=[f"new-{k}" for k in keys]
        )
    for run in (*old, *new):
        assert run.wait(90).state == SagaState.COMPLETED
    did = {
        run.pk: [e.what for e in ledger.read(book) if e.key.startswith(str(run.pk))]
        for run in (*old, *new)
    }
    for run in new:
        assert did[run.pk] == ["pay USD by 2", "ship after (pay USD by 2) by 2"]
    for run in old:
        paid, shipped = did[run.pk]
        assert paid in {"charge by 1", "pay EUR by 2"}
        assert shipped in {f"ship after ({paid}) by 1", f"ship after ({paid}) by 2"}
    both = {what[-4:] for run in old for what in did[run.pk]}
    assert both == {"by 1", "by 2"}
