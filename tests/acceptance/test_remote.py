"""A step done by workers of another code base, which have Celery and nothing of ours (R85)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.plant.worker_process import WorkerProcess
from sagas import start_saga
from sagas.models import SagaRun
from sagas.states import SagaState, StepState
from tests.conftest import WORKERS, WorkerFactory
from tests.driving import states, step_of
from tests.flows.remote import Charged, Found, Impatient, Sale
from tests.other_code_base import ledger
from tests.other_code_base.process import RemoteWorker, imports, make_site
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

RemoteFactory = Callable[..., RemoteWorker]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the other side may import."""
    return make_site(tmp_path_factory.mktemp("other") / "site")


@pytest.fixture
def remote_factory(
    site: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[RemoteFactory]:
    """Start workers of the other side."""
    workers = request.node.stash.setdefault(WORKERS, [])

    def start(broker_url: str, **options: Any) -> RemoteWorker:
        worker = RemoteWorker(
            broker_url=broker_url, database_url="", folder=tmp_path, site=site, **options
        )
        workers.append(worker)
        return worker.start()

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """What both sides did."""
    return tmp_path / "ledger"


def ours(factory: WorkerFactory, broker_url: str, **settings: Any) -> WorkerProcess:
    return factory(broker_url, settings={**QUICK, **settings})


def sell(book: Path, key: str, saga: type[Charged] = Charged, **how: Any) -> SagaRun:
    return start_saga(saga, Sale(str(book), **how), key=key)


def test_the_other_side_has_celery_and_neither_django_nor_the_sagas(site: Path) -> None:
    can = {name: imports(site, name) for name in ("celery", "payments", "sagas", "django")}
    assert can == {"celery": True, "payments": True, "sagas": False, "django": False}


class TestTheOtherSide:
    def test_charges_and_the_saga_goes_on_with_the_typed_result(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        any_broker: str,
    ) -> None:
        """Also after a retry of its own, and when the saga turns back: undone, in order."""
        ours(worker_factory, any_broker)
        remote_factory(any_broker)
        plain, retried = sell(book, "one"), sell(book, "two", before="retry")
        undone = sell(book, "three", fails=True)
        assert plain.wait(60).state == SagaState.COMPLETED
        assert step_of(plain, "charge").output == {"id": "p-one", "cents": 500}
        assert retried.wait(60).state == SagaState.COMPLETED
        assert undone.wait(60).state == SagaState.COMPENSATED
        done = ledger.read(book)
        assert done.count("charge begins") == 4
        assert done.count("charged") == len(set(ledger.keys(book, "charged"))) == 3
        assert ledger.keys(book, "refunded p-three") == [step_of(undone, "charge").idempotency_key]
        undoing = [what for what in done if what.startswith(("refunded", "released"))]
        assert undoing == ["refunded p-three", "released"]

    @pytest.mark.redis
    def test_fails_and_the_result_backend_tells_why(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        redis_broker: str,
    ) -> None:
        """By a definite failure nothing is refunded; by a killed process it is."""
        ours(worker_factory, redis_broker, REMOTE_RESULT_BACKEND=redis_broker)
        remote_factory(redis_broker, results=redis_broker)
        declined = sell(book, "one", before="decline")
        assert declined.wait(60).state == SagaState.COMPENSATED
        row = step_of(declined, "charge")
        assert (row.state, row.error_code, row.error) == ("failed", "CardDeclined", "no funds")
        assert ledger.read(book) == ["reserved", "charge begins", "released"]
        killed = sell(book, "two", after="kill")
        assert killed.wait(60).state == SagaState.COMPENSATED
        assert step_of(killed, "charge").error_code == "WORKER_LOST"
        assert ledger.read(book)[-3:] == ["charged", "refunded None", "released"]
        found = sell(book, "three", Found, after="kill")
        assert found.wait(60).state == SagaState.COMPLETED
        assert step_of(found, "charge").output == {"id": "p-three", "cents": 500}

    @pytest.mark.redis
    def test_fails_and_nobody_tells_whether_it_happened(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        redis_broker: str,
    ) -> None:
        ours(worker_factory, redis_broker)
        remote_factory(redis_broker)
        runs = [sell(book, "one", before="decline"), sell(book, "two", after="decline")]
        for run in runs:
            assert run.wait(60).state == SagaState.COMPENSATED
            assert step_of(run, "charge").error_code == "REMOTE_OUTCOME_UNKNOWN"
        assert ledger.read(book).count("refunded None") == 2
        found = sell(book, "three", Found, after="decline")
        assert found.wait(60).state == SagaState.COMPLETED

    @pytest.mark.redis
    def test_and_ours_die_while_the_step_waits(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        redis_broker: str,
    ) -> None:
        """The wait is a row: the answer is taken up by whoever coordinates then."""
        first = ours(worker_factory, redis_broker)
        remote_factory(redis_broker)
        run = sell(book, "one", after="hang")
        ledger.wait_for(book, "charged")
        first.kill()
        Path(f"{book}.go").touch()
        ours(worker_factory, redis_broker)
        assert run.wait(60).state == SagaState.COMPLETED
        assert ledger.read(book).count("charge begins") == 1
        assert states(run)["charge"] == StepState.SUCCEEDED

    @pytest.mark.redis
    @pytest.mark.slow
    def test_is_mute_until_long_after_the_time_limit(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        redis_broker: str,
    ) -> None:
        """Undone with nothing known of it; and, when it says that it had charged, once more."""
        ours(worker_factory, redis_broker)
        remote_factory(redis_broker)
        remote_factory(redis_broker, queues=["other.refunds"])
        run = sell(book, "one", Impatient, after="hang")
        assert run.wait(60).state == SagaState.COMPENSATED
        assert ledger.read(book)[-3:] == ["charged", "refunded None", "released"]
        Path(f"{book}.go").touch()
        ledger.wait_for(book, "refunded p-one")
        assert run.wait(60).state == SagaState.COMPENSATED

    @pytest.mark.redis
    @pytest.mark.slow
    def test_is_killed_as_a_whole(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        redis_broker: str,
    ) -> None:
        """Then nobody says anything, and what it did is undone as unknown."""
        ours(worker_factory, redis_broker)
        victim = remote_factory(redis_broker)
        run = sell(book, "one", Impatient, after="hang")
        ledger.wait_for(book, "charged")
        victim.kill()
        remote_factory(redis_broker, queues=["other.refunds"])
        assert run.wait(60).state == SagaState.COMPENSATED
        row = step_of(run, "charge")
        assert row.error_code == "STEP_TIMEOUT"
        assert ledger.keys(book, "refunded None") == [row.idempotency_key]

    @pytest.mark.redis
    @pytest.mark.slow
    def test_is_asked_twice_by_one_message(
        self,
        book: Path,
        worker_factory: WorkerFactory,
        remote_factory: RemoteFactory,
        redis_broker: str,
    ) -> None:
        ours(worker_factory, redis_broker)
        run = sell(book, "one")
        with redis.Redis.from_url(redis_broker) as client:
            until = time.monotonic() + 30
            while not (waiting := client.lrange("other.payments", 0, -1)):
                assert time.monotonic() < until
                time.sleep(0.05)
            client.lpush("other.payments", *waiting)
        remote_factory(redis_broker)
        assert run.wait(60).state == SagaState.COMPLETED
        ledger.wait_for(book, "charged", times=2)
        assert set(ledger.keys(book, "charged")) == {step_of(run, "charge").idempotency_key}
