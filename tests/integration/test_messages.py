"""A step's message is one that Celery itself would have sent."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import current_app, signals
from django.db import transaction
from django.test import override_settings

from config.celery import app
from sagas import start_saga, start_sagas
from sagas.engine import dispatch
from sagas.engine.database import OUTCOME_SECONDS
from sagas.engine.publishing import Publisher
from sagas.models import SagaRun, StepRun
from tests.traced import Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


@pytest.fixture(autouse=True)
def _fresh_publisher(monkeypatch: pytest.MonkeyPatch, redis_broker: str) -> None:
    monkeypatch.setattr(dispatch, "_publisher", Publisher())


def started(**options: Any) -> tuple[SagaRun, StepRun]:
    run = start_saga(Five, Script(), key="k")
    step = run.steps.get(name="a")
    if options:
        # Of a saga that this code does not have, the row says how its steps are sent.
        run.label = "tests.Gone"
        SagaRun.objects.filter(pk=run.pk).update(label=run.label)
    StepRun.objects.filter(pk=step.pk).update(options={**step.options, **options})
    step.refresh_from_db()
    return run, step


def as_celery_sends_it(run: SagaRun, step: StepRun, **options: Any) -> None:
    door = current_app.signature(
        dispatch.STEP_FAILED,
        args=(str(step.pk), step.fence + 1),
        immutable=True,
        queue="saga.coordinator",
    )
    current_app.send_task(
        f"sagas.{run.label}.a",
        (str(step.pk), step.fence),
        task_id=f"{step.pk}-{step.fence}-{step.sends}",
        link_error=door,
        headers={"saga_id": str(run.pk), "saga_step": "a"},
        ignore_result=True,
        **options,
    )


def taken(url: str, queue: str) -> list[dict[str, Any]]:
    """Take what is queued, without what differs between any two messages."""
    with redis.Redis.from_url(url) as client:
        found = [json.loads(text) for text in client.lrange(queue, 0, -1)]
        client.delete(queue)
    for message in found:
        message["body"] = json.loads(base64.b64decode(message["body"]))
        message["properties"].pop("delivery_tag")
    return found


@pytest.mark.parametrize(
    ("of_step", "of_message"),
    [
        ({"queue": "payments"}, {}),
        ({"queue": "payments", "priority": 3}, {"priority": 3}),
        ({"queue": "payments", "soft_time_limit": 5}, {"soft_time_limit": 5}),
    ],
)
def test_a_message_is_the_same_as_celerys_to_the_last_header(
    redis_broker: str, of_step: dict[str, Any], of_message: dict[str, Any]
) -> None:
    run, step = started(**of_step)
    limit = step.plan.time_limit + 1 + 2 * OUTCOME_SECONDS
    limits = {"time_limit": limit, "soft_time_limit": None}
    priority = of_message.get("priority", 0)
    queue = f"payments\x06\x16{priority}" if priority else "payments"
    assert dispatch.send(run, step)
    as_celery_sends_it(run, step, queue="payments", **{**limits, **of_message})
    theirs, ours = taken(redis_broker, queue)
    assert ours == theirs


def test_the_signals_are_sent_with_which_others_trace_it() -> None:
    run, step = started()
    heard: list[str] = []

    def before(sender: str, headers: dict[str, Any], **_: object) -> None:
        headers["traceparent"] = "x"
        heard.append(f"before {sender}")

    def after(sender: str, headers: dict[str, Any], **_: object) -> None:
        heard.append(f"after {sender} {headers['traceparent']} {headers['saga_step']}")

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        assert dispatch.send(run, step)
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert heard == ["before sagas.tests.Five.a", "after sagas.tests.Five.a x a"]


def test_a_result_is_asked_for_when_the_project_wants_it(redis_broker: str) -> None:
    run, step = started(queue="payments")
    with override_settings(SAGAS={"STORE_TASK_RESULTS": True}):
        assert dispatch.send(run, step)
    ((message),) = taken(redis_broker, "payments")
    assert message["headers"]["ignore_result"] is False


@pytest.fixture
def _routes() -> Iterator[None]:
    before = app.conf.task_routes
    _route({"sagas.tests.*": {"priority": 6, "queue": "elsewhere"}})
    yield
    _route(before)


def _route(routes: Any) -> None:
    app.conf.task_routes = routes
    app.amqp.flush_routes()
    app.amqp.__dict__.pop("router", None)


@pytest.mark.usefixtures("_routes")
def test_the_projects_routes_are_asked_for_what_the_step_leaves_open(redis_broker: str) -> None:
    run, step = started(queue="payments")
    assert dispatch.send(run, step)
    (message,) = taken(redis_broker, "payments\x06\x166")
    assert message["properties"]["priority"] == 6


def headers_of_tests(run: SagaRun, step: StepRun) -> dict[str, str]:
    """What a project would name in ``SAGAS["MESSAGE_HEADERS"]``."""
    return {"tenant": run.tags["tenant"], "of": step.name, "saga_id": "not ours to give"}


def broken_headers(_run: SagaRun, _step: StepRun) -> dict[str, str]:
    """Has a bug."""
    raise KeyError("tenant")


HOOK = {"MESSAGE_HEADERS": f"{__name__}.headers_of_tests"}
BROKEN = {"MESSAGE_HEADERS": f"{__name__}.broken_headers"}


class TestHeadersOfTheProject:
    def test_every_message_has_them_beside_ours(self, redis_broker: str) -> None:
        with override_settings(SAGAS=HOOK):
            run = start_saga(Five, Script(), key="k", tags={"tenant": "acme"})
            step = StepRun.objects.get(run=run, name="a")
            again = SagaRun.objects.defer("tags").get(pk=run.pk)
            assert dispatch.send(again, step)
        for message in taken(redis_broker, "saga.steps"):
            headers = message["headers"]
            assert (headers["tenant"], headers["of"]) == ("acme", "a")
            assert headers["saga_id"] == str(run.pk)

    def test_each_of_many_messages_at_once_has_its_own(self, redis_broker: str) -> None:
        with override_settings(SAGAS=HOOK), transaction.atomic():
            for name in ("acme", "other"):
                start_sagas(Five, [Script()] * 2, keys=[name, f"{name}2"], tags={"tenant": name})
        found = [message["headers"]["tenant"] for message in taken(redis_broker, "saga.steps")]
        assert sorted(found) == ["acme", "acme", "other", "other"]

    def test_a_function_that_fails_keeps_its_message_back_and_not_the_transaction(
        self, redis_broker: str
    ) -> None:
        with override_settings(SAGAS=BROKEN):
            run = start_saga(Five, Script(), key="k")
        assert run.created
        assert StepRun.objects.get(run=run, name="a").state == "ready"
        assert taken(redis_broker, "saga.steps") == []

    def test_a_receiver_of_celerys_signal_may_add_headers(self, redis_broker: str) -> None:
        def add(headers: dict[str, Any], **_: Any) -> None:
            headers["tenant"] = "acme"

        signals.before_task_publish.connect(add)
        try:
            start_saga(Five, Script(), key="k")
            start_sagas(Five, [Script()] * 2, keys=["l", "m"])
        finally:
            signals.before_task_publish.disconnect(add)
        found = [message["headers"]["tenant"] for message in taken(redis_broker, "saga.steps")]
        assert found == ["acme"] * 3
