"""While old and new workers run side by side, a new saga finds those that know it (R57)."""

from pathlib import Path
from statistics import median

import pytest

from sagas import start_saga
from sagas.states import SagaState
from tests.conftest import WorkerFactory
from tests.flows.sagas import Deployed, Orders


OLD = {"SAGAS_TEST_OLD_RELEASE": "1"}
SAGAS = 12


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
