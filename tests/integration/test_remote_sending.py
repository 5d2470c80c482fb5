"""The message to a task of another code base: what is in it, and what is known when it is not sent (R85)."""

import json
import time
from base64 import b64decode
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from sagas import start_saga
from sagas.engine import dispatch, publishing
from sagas.engine.publishing import Publisher
from sagas.states import StepState
from tests.broker import publishing_to
from tests.driving import drive, run_one, step_of
from tests.remotes import Order, Remote


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


@pytest.fixture(autouse=True)
def _fresh_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_publisher", Publisher())


def taken(url: str, queue: str) -> dict[str, Any]:
    """Return the first message of a queue, as Redis has it."""
    with redis.Redis.from_url(url) as client:
        raw: Any = client.rpop(queue)
    return dict(json.loads(raw))


class TestTheMessage:
    def test_has_the_arguments_and_two_callbacks_and_nothing_of_ours(
        self, redis_broker: str
    ) -> None:
        run = drive(start_saga(Remote, Order(), key="k"))
        row = step_of(run, "charge")
        message = taken(redis_broker, "payments")
        headers = message["headers"]
        args, kwargs, embedded = json.loads(b64decode(message["body"]))
        assert message["content-type"] == "application/json"
        assert (headers["task"], headers["id"]) == ("payments.charge", f"remote-{row.pk}-1")
        assert {name for name in headers if "saga" in name} == {"saga_idempotency_key"}
        assert headers["saga_idempotency_key"] == row.idempotency_key
        assert headers["ignore_result"] is None
        assert headers["expires"]
        assert (args, kwargs) == ([], row.input)
        (success,), (failure,) = embedded["callbacks"], embedded["errbacks"]
        assert (success["task"], failure["task"]) == (
            "sagas.remote_succeeded",
            "sagas.remote_failed",
        )
        assert (success["immutable"], failure["immutable"]) == (False, True)
        assert success["args"] == failure["args"] == [str(row.pk), 1]
        assert success["options"]["queue"] == failure["options"]["queue"] == "saga.coordinator"


class TestWhenItIsNotSent:
    def test_because_the_broker_is_away_nothing_is_in_doubt(self) -> None:
        with publishing_to("redis://127.0.0.1:1/0"), dispatch.nothing_is_sent():
            run = start_saga(Remote, Order(), key="k")
            run_one(run)
        with publishing_to("redis://127.0.0.1:1/0"):
            began = time.monotonic()
            assert run_one(run, "charge") == "REQUEST_NOT_SENT"
            assert time.monotonic() - began < 8
        row = step_of(run, "charge")
        assert (row.state, row.in_doubt) == (StepState.READY, False)
        assert "payments.charge was not sent" in row.error

    def test_and_the_broker_went_away_in_the_middle_it_is_in_doubt(
        self, redis_broker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send = publishing._send_task

        def cut(app: Any, producer: Any, message: Any, declare: Any) -> None:
            send(app, producer, message, declare)
            raise OperationalError("connection reset")

        with dispatch.nothing_is_sent():
            run = start_saga(Remote, Order(), key="k")
            run_one(run)
        monkeypatch.setattr(publishing, "_send_task", cut)
        assert run_one(run, "charge") == "REQUEST_NOT_SENT"
        assert step_of(run, "charge").in_doubt
        assert taken(redis_broker, "payments")

    def test_because_it_cannot_be_written_nothing_is_in_doubt(
        self, redis_broker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise KeyError("payments")

        with dispatch.nothing_is_sent():
            run = start_saga(Remote, Order(), key="k")
            run_one(run)
        monkeypatch.setattr(publishing, "_send_task", refuse)
        assert run_one(run, "charge") == "REQUEST_NOT_SENT"
        assert not step_of(run, "charge").in_doubt
        assert redis_broker
