"""start_sagas(): as so many starts, all or none, with their messages sent together (R4, R5, R8)."""

import base64
import json
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import redis
from django.db import transaction
from django.db.models.signals import post_init
from django.test import override_settings
from kombu import Connection

from benchmarks.plant.servers.process import free_port
from sagas import start_saga, start_sagas
from sagas.conf import saga_settings
from sagas.engine import dispatch, recover
from sagas.engine.publishing import Publisher
from sagas.engine.start import BATCH
from sagas.exceptions import IdempotencyRequired, PayloadError, SagaConflict
from sagas.models import SagaRun, StepRun
from tests.broker import publishing_to
from tests.chains import Fails, chain
from tests.driving import fresh, nothing_is_written
from tests.races import TIMES, together
from tests.traced import Diamond, Five, Script
from tests.typed import TwoDoors, Words


pytestmark = pytest.mark.django_db(transaction=True)

words: Any = Words


class TestManyStarts:
    def test_runs_come_back_in_the_order_of_their_inputs(self, messages: list[str]) -> None:
        there = start_saga(Five, Script({"a": "bug"}), key="b")
        inputs = [Script({name: "bug"}) for name in "cade"]
        runs = start_sagas(Five, [*inputs[:2], Script({"a": "bug"})], keys=["x", "y", "b"])
        assert [run.key for run in runs] == ["x", "y", "b"]
        assert [run.created for run in runs] == [True, True, False]
        assert [run.input["faults"] for run in runs if run.input] == [
            {"c": "bug"}, {"a": "bug"}, {"a": "bug"}
        ]  # fmt: skip
        assert runs[2].pk == there.pk
        assert len(messages) == 1 + 2

    def test_a_key_given_twice_is_one_run(self, messages: list[str]) -> None:
        runs = start_sagas(Five, [Script()] * 3, keys=["k", "other", "k"])
        assert runs[0].pk == runs[2].pk
        assert runs[0].created
        assert SagaRun.objects.count() == 2
        assert StepRun.objects.count() == 2 * 5
        assert len(messages) == 2

    def test_more_runs_than_a_statement_holds_are_started(self, messages: list[str]) -> None:
        keys = [str(number) for number in range(450)]
        runs = start_sagas(Five, [Script()] * len(keys), keys=keys)
        assert [run.key for run in runs] == keys
        assert len({run.pk for run in runs}) == SagaRun.objects.count() == len(messages) == 450
        assert all(run.created for run in runs)

    def test_no_inputs_start_no_runs(self, messages: list[str]) -> None:
        assert start_sagas(Five, []) == []
        assert messages == []

    def test_every_ready_step_of_every_run_is_sent(self, messages: list[str]) -> None:
        start_sagas(TwoDoors, [Words("x"), Words("y")], keys=["x", "y"])
        assert messages == ["sagas.tests.TwoDoors.left", "sagas.tests.TwoDoors.right"] * 2


class TestRefusals:
    """The message begins with the place of the input, and nothing is written."""

    def test_an_input_that_does_not_fit_is_refused(self, messages: list[str]) -> None:
        with pytest.raises(PayloadError, match=r"^inputs\[2\]: the input of tests.TwoDoors") as e:
            start_sagas(TwoDoors, [Words("a"), Words("b"), words(7)], keys=[*"abc"])
        assert e.value.index == 2
        assert nothing_is_written()
        assert messages == []

    def test_an_input_without_a_key_is_refused(self) -> None:
        with pytest.raises(IdempotencyRequired, match=r"^inputs\[1\]: ") as caught:
            start_sagas(Five, [Script()] * 2, keys=["a", " "])
        assert (caught.value.location, caught.value.index) == ("transaction", 1)
        assert nothing_is_written()

    def test_a_key_of_another_input_is_refused(self, messages: list[str]) -> None:
        first = start_saga(Five, Script({"a": "bug"}), key="taken")
        messages.clear()
        with pytest.raises(SagaConflict, match=r"^inputs\[1\]: .*use another key") as caught:
            start_sagas(Five, [Script()] * 3, keys=["a", "taken", "b"])
        assert (caught.value.run_id, caught.value.index) == (first.pk, 1)
        assert SagaRun.objects.get().pk == first.pk
        assert messages == []

    def test_another_number_of_keys_is_refused(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            start_sagas(Five, [Script()] * 2, keys=["a"])
        assert nothing_is_written()


@pytest.mark.parametrize("portable", [False, True], ids=["by statement", "by the ORM"])
def test_what_is_returned_is_what_is_stored(messages: list[str], *, portable: bool) -> None:
    settings = {**saga_settings().__dict__, "POSTGRESQL_STATEMENTS": not portable}
    with override_settings(SAGAS=settings):
        one = start_saga(Diamond, Script(), key="one", tags={"of": "é"})
        many = start_sagas(Diamond, [Script()] * 2, keys=["two", "three"], tags={"of": "é"})
    for run in (one, *many):
        stored = fresh(run)
        for field in SagaRun._meta.concrete_fields:
            assert getattr(run, field.attname) == getattr(stored, field.attname), field.attname
        assert not run._state.adding
        assert run.get_deferred_fields() == set()


@pytest.mark.postgres
def test_no_instance_is_made_that_nobody_asked_for(messages: list[str]) -> None:
    made: list[str] = []

    def count(sender: type, **_: object) -> None:
        made.append(sender.__name__)

    with chain(20) as saga:
        post_init.connect(count)
        try:
            start_sagas(saga, [Fails()] * 3, keys=[*"abc"])
        finally:
            post_init.disconnect(count)
    assert sorted(made) == ["SagaRun"] * 3 + ["StepRun"] * 3


@pytest.fixture
def _fresh_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_publisher", Publisher())


@pytest.mark.usefixtures("_fresh_publisher")
def test_every_broker_takes_the_messages_of_many_starts(any_broker: str) -> None:
    start_sagas(Five, [Script()] * 3, keys=[*"abc"])
    with Connection(any_broker) as broker:
        channel: Any = broker.default_channel
        queue = channel.queue_declare("saga.steps", passive=True)
    assert queue.message_count == 3


@pytest.mark.redis
@pytest.mark.usefixtures("_fresh_publisher")
class TestMessagesOfManyStarts:
    def test_are_each_a_message_as_any_other(self, redis_broker: str) -> None:
        alone = start_saga(Five, Script(), key="alone")
        many = start_sagas(Five, [Script()] * 3, keys=[*"abc"])
        found = [plain(message) for message in waiting(redis_broker)]
        assert [ids for ids, _ in found] == [
            {str(run.pk), str(first_step(run))} for run in (alone, *many)
        ]
        assert [rest for _, rest in found] == [found[0][1]] * 4

    def test_are_sent_in_one_trip(self, redis_broker: str) -> None:
        with redis.Redis.from_url(redis_broker) as client:
            start_sagas(Five, [Script()], keys=["first"])
            before = reads(client)
            start_sagas(Five, [Script()] * 100, keys=[str(number) for number in range(100)])
            assert client.llen("saga.steps") == 101
            assert reads(client) - before < 40

    def test_are_sent_only_after_the_commit(self, redis_broker: str) -> None:
        with transaction.atomic():
            start_sagas(Five, [Script()] * 2, keys=[*"ab"])
            assert waiting(redis_broker) == []
        assert len(waiting(redis_broker)) == 2

    def test_are_sent_although_the_broker_closed_the_connection(self, redis_broker: str) -> None:
        start_sagas(Five, [Script()] * 2, keys=[*"ab"])
        with redis.Redis.from_url(redis_broker) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        start_sagas(Five, [Script()] * 2, keys=[*"cd"])
        assert len(waiting(redis_broker)) == 4

    def test_are_sent_by_the_sweep_when_no_broker_took_them(self, redis_broker: str) -> None:
        with publishing_to(f"redis://127.0.0.1:{free_port()}/0"):
            runs = start_sagas(Five, [Script()] * 3, keys=[*"abc"])
        assert [run.created for run in runs] == [True] * 3
        dispatch._publisher._paused_until = 0.0
        StepRun.objects.filter(state="ready").update(send_at=runs[0].created_at)
        assert recover.sweep().sent == 3
        assert len(waiting(redis_broker)) == 3


def reads(client: "redis.Redis") -> int:
    return int(client.info("stats")["total_reads_processed"])


def waiting(url: str) -> list[dict[str, Any]]:
    """Return the messages of the queue of steps, first sent first."""
    with redis.Redis.from_url(url) as client:
        return [json.loads(text) for text in reversed(client.lrange("saga.steps", 0, -1))]


def plain(message: dict[str, Any]) -> tuple[set[str], str]:
    """Return the ids that a message names, and the rest of it."""
    headers = message["headers"]
    body = json.loads(base64.b64decode(message["body"]))
    step_id = body[0][0]
    ids = {headers["saga_id"], step_id}
    text = json.dumps({**message, "body": body}, sort_keys=True)
    tag = message["properties"]["delivery_tag"]
    for number, known in enumerate([headers["saga_id"], step_id, tag]):
        text = text.replace(known, f"id {number}")
    return ids, text


def first_step(run: SagaRun) -> UUID:
    return StepRun.objects.get(run=run, name="a").pk


@pytest.mark.postgres
def test_callers_with_the_same_keys_in_other_orders_wait_for_each_other() -> None:
    keys = [str(number) for number in range(2 * BATCH)]
    turned = keys[BATCH:] + keys[:BATCH]
    for attempt in range(TIMES // 12):
        orders = [[f"{attempt}-{key}" for key in order] for order in (keys, keys[::-1], turned)]
        made = together(
            *(partial(start_sagas, Five, [Script()] * len(keys), keys=order) for order in orders)
        )
        for order, runs in zip(orders, made, strict=True):
            assert [run.key for run in runs] == order
        created = [run.pk for runs in made for run in runs if run.created]
        assert len(created) == len(set(created)) == len(keys)
