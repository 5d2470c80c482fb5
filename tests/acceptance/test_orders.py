"""Many orders, a fifth failing, on PostgreSQL, Redis and two workers: the books must agree."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

import pytest
from django.db import connection, connections

from examples.shop.audit import disagreements
from examples.shop.order_input import FailHow
from examples.shop.orders import Wish, place_order
from examples.shop.sagas import FulfilOrder
from sagas import start_saga
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import EventType, SagaState
from tests.conftest import WorkerFactory
from tests.flows import ledger
from tests.flows.sagas import Orders, Parallel


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.postgres]

STEPS = [step.name for step in FulfilOrder.definition.steps]
FEW = 150
MANY = 500


def wish(number: int) -> Wish:
    """Every fifth order fails for good, at each possible step in turn."""
    failing = STEPS[number // 5 % len(STEPS)] if number % 5 == 0 else ""
    abroad = failing == "customs_papers" or number % 3 == 0
    return Wish(
        customer_id=f"customer-{number}",
        sku="LAMP",
        quantity=1 + number % 3,
        country="JP" if abroad else "NL",
        fail_at=failing,
        fail_how=FailHow.PERMANENT if failing else "",
    )


def wait_until_none_is_active(timeout: float) -> None:
    until = time.monotonic() + timeout
    while SagaRun.objects.active().exists():
        if time.monotonic() > until:
            left = [run.explain() for run in SagaRun.objects.active()[:5]]
            pytest.fail(f"{SagaRun.objects.active().count()} are still active, such as {left}")
        time.sleep(0.2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("orders", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_all_orders_end_and_the_service_tables_agree_with_every_outcome(
    worker_factory: WorkerFactory, redis_broker: str, orders: int
) -> None:
    for _ in range(2):
        worker_factory(redis_broker, environment={"SAGAS_LOG_LEVEL": "WARNING"})
    for number in range(orders):
        place_order(wish(number))
    wait_until_none_is_active(500)

    runs = list(SagaRun.objects.all())
    assert len(runs) == orders
    assert disagreements(runs) == []
    failed = {run.failed_step for run in runs if run.state == SagaState.COMPENSATED}
    assert failed == set(STEPS) - {"send_confirmation"}
    warned = Counter(run.state for run in runs if run.has_warnings)
    assert set(warned) == {SagaState.COMPLETED}
    assert Counter(run.state for run in runs)[SagaState.COMPENSATED] >= orders // 5 * 6 // 7
    assert {run.state for run in runs} == {SagaState.COMPLETED, SagaState.COMPENSATED}
    # No message had to be sent twice, and no attempt was lost, in a run without faults.
    assert not SagaEvent.objects.filter(type=EventType.STEP_LATE).exists()
    assert_reverse_order(runs)


def assert_reverse_order(runs: list[SagaRun]) -> None:
    for run in runs:
        backward = list(run.steps.backward().order_by("position"))
        forward = {step.name: step for step in run.steps.forward()}
        ends = [forward[step.name].ended_at for step in backward]
        assert ends == sorted(ends, reverse=True)  # type: ignore[type-var]
        starts = [(step.started_at, step.ended_at) for step in backward]
        for (_, ended), (started, _) in pairwise(starts):
            assert ended is not None
            assert started is not None
            assert ended <= started


def test_fifty_starts_at_once_with_one_key_make_one_saga_whose_first_step_runs_once(
    worker_factory: WorkerFactory, redis_broker: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    book = tmp_path_factory.mktemp("book") / "ledger"
    worker_factory(redis_broker)
    barrier = Barrier(50)

    def start(_: int) -> SagaRun:
        barrier.wait(60)
        try:
            return start_saga(Parallel, Orders(str(book)), key="the only one")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(50) as pool:
        runs = list(pool.map(start, range(50)))
    assert len({run.pk for run in runs}) == 1
    assert [run.created for run in runs].count(True) == 1
    assert runs[0].wait(60).state == SagaState.COMPLETED
    assert ledger.began(book).count("start") == 1


def test_no_transaction_is_open_while_a_handler_talks_to_the_outside(
    worker_factory: WorkerFactory, redis_broker: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    book = tmp_path_factory.mktemp("book") / "ledger"
    worker_factory(redis_broker)
    run = start_saga(Parallel, Orders(str(book), {"left": "after=looked"}), key="long")
    began = ledger.wait_for(book, "left").at
    # What is open for an instant, such as a sweep's, ends; what the handler keeps open would not.
    until = time.monotonic() + 30
    while (open_since := oldest_transaction()) and open_since < began:
        assert time.monotonic() < until, "a transaction is open while the handler runs"
        time.sleep(0.05)
    assert StepRun.objects.get(run=run, name="left", direction="forward").state == "running"
    ledger.say(book, "looked", of=run.pk)
    assert run.wait(60).state == SagaState.COMPLETED


def oldest_transaction() -> float | None:
    """Return since when (Unix time) the others' oldest transaction is open."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM min(xact_start))::float, count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        since, connected = cursor.fetchone()
    assert connected
    found: float | None = since
    return found
