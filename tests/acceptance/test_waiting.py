"""A wait outlives every process: it is a row (R53, R84)."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import redis
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from benchmarks.plant.worker_process import WorkerProcess
from sagas import start_saga
from sagas.operations import complete_step, fail_step
from sagas.states import SagaState, StepState
from tests.broker import purge
from tests.conftest import WorkerFactory
from tests.driving import states, step_of
from tests.flows import ledger
from tests.flows.sagas import Orders, Parallel
from tests.quick import QUICK


pytestmark = [pytest.mark.acceptance]


@pytest.fixture(autouse=True)
def _sent_again_soon(settings: Settings) -> None:
    settings.SAGAS = {**settings.SAGAS, **QUICK}


def flush(broker_url: str) -> None:
    """Let the broker forget everything."""
    if broker_url.startswith("redis"):
        redis.Redis.from_url(broker_url).flushall()
    else:
        purge(broker_url)


def wait_until(fact: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.05)


def everything_stops(worker: WorkerProcess, broker_url: str) -> None:
    """The only worker ends, and the broker loses all messages."""
    worker.terminate()
    assert not worker.alive
    flush(broker_url)


class TestRestart:
    def test_an_answer_that_comes_while_nothing_runs_is_found_by_the_next_worker(
        self, tmp_path: Path, worker_factory: WorkerFactory, any_broker: str
    ) -> None:
        book = tmp_path / "ledger"
        worker = worker_factory(any_broker, settings=QUICK)
        run = start_saga(Parallel, Orders(str(book), {"left": "wait"}), key="one")
        settled = {"left": StepState.WAITING, "right": StepState.SUCCEEDED}
        wait_until(lambda: settled.items() <= states(run).items())
        everything_stops(worker, any_broker)
        complete_step(run, "left", result="outside", reason="they called")
        flush(any_broker)
        worker_factory(any_broker, settings=QUICK)
        assert run.wait(90).state == SagaState.COMPLETED
        assert step_of(run, "left").output == "outside"
        assert ledger.began(book).count("left") == 1
        assert ledger.began(book)[-1] == "join"

    def test_an_answer_to_a_compensation_that_comes_while_nothing_runs_is_found_too(
        self, tmp_path: Path, worker_factory: WorkerFactory, usual_broker: str
    ) -> None:
        book = tmp_path / "ledger"
        worker = worker_factory(usual_broker, settings=QUICK)
        script = {"left": "wait", "undo_right(right)": "wait"}
        run = start_saga(Parallel, Orders(str(book), script), key="one")
        wait_until(lambda: states(run)["right"] == StepState.SUCCEEDED)
        wait_until(lambda: states(run)["left"] == StepState.WAITING)
        fail_step(run, "left", error="no stock", code="NO_STOCK", reason="they called")
        wait_until(lambda: states(run, "backward").get("right") == StepState.WAITING)
        everything_stops(worker, usual_broker)
        complete_step(run, "undo_right", reason="they called again")
        worker_factory(usual_broker, settings=QUICK)
        ended = run.wait(90)
        assert (ended.state, ended.error_code) == (SagaState.COMPENSATED, "NO_STOCK")
        undone = [name for name in ledger.began(book) if name.startswith("undo")]
        assert undone == ["undo_right(right)", "undo_start(start)"]


def call_back(url: str, **answer: Any) -> int:
    """Answer as an outside party does; return the status."""
    body = json.dumps(answer).encode()
    request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 ours
    try:
        with urlopen(request, timeout=10) as response:  # noqa: S310 ours
            return int(response.status)
    except HTTPError as refusal:
        return refusal.code


class TestWebhook:
    def test_a_step_is_answered_over_http_though_every_worker_was_replaced_meanwhile(
        self,
        tmp_path: Path,
        worker_factory: WorkerFactory,
        usual_broker: str,
        live_server: LiveServer,
    ) -> None:
        book = tmp_path / "ledger"
        worker = worker_factory(usual_broker, settings=QUICK)
        script = {"left": "call back", "undo_right(right)": "call back", "join": "permanent"}
        run = start_saga(Parallel, Orders(str(book), script), key="one")
        settled = {"left": StepState.WAITING, "right": StepState.SUCCEEDED}
        wait_until(lambda: settled.items() <= states(run).items())
        everything_stops(worker, usual_broker)
        worker_factory(usual_broker, settings=QUICK)
        url = f"{live_server.url}{ledger.given_out(book, 'left')}"
        assert call_back(url[:-2] + "x/", status="succeeded", result="forged") == 403
        assert call_back(url, status="succeeded", result=7) == 400
        assert call_back(url, status="succeeded", result="outside") == 200
        assert call_back(url, status="succeeded", result="outside") in {200, 202}
        assert call_back(url, status="failed") == 409
        wait_until(lambda: states(run, "backward").get("right") == StepState.WAITING)
        undo = f"{live_server.url}{ledger.given_out(book, 'undo_right(right)')}"
        assert call_back(undo, status="succeeded") == 200
        ended = run.wait(90)
        assert (ended.state, ended.error_code) == (SagaState.COMPENSATED, "REFUSED")
        assert step_of(run, "left").output == "outside"
        assert ledger.began(book).count("left") == 1
