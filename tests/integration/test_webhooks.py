"""An outside party answers by the token that it was given (R84)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.core import signing
from django.db import connection
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from sagas import Saga, Wait, start_saga, step
from sagas.definitions.tokens import Request, answer_token, answer_url, read_answer_token
from sagas.exceptions import SagaConfigurationError
from sagas.models import SagaRun
from sagas.operations import cancel_saga, complete_step, resolve_saga, rewind_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, everything, fresh, states, step_of
from tests.integration.test_locks import held
from tests.traced import Script
from tests.waits import Patient, five, run_out, undoing


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

URLS: list[str] = []


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> Iterator[None]:
    URLS.clear()
    yield
    URLS.clear()


@dataclass(frozen=True)
class Parcel:
    number: int


class Sending(Saga[Script]):
    """Somebody else sends the parcel, and takes it back; both are given an address to answer at."""

    class Meta:
        label = "tests.Sending"

    @step
    def send(self) -> Parcel:
        URLS.append(self.answer_url())
        raise Wait("the carrier collects it")

    @send.compensation
    def take_back(self, parcel: Parcel | None) -> None:
        URLS.append(self.answer_url())
        raise Wait("the carrier brings it back")

    @step
    def thank(self) -> None:
        if self.input.faults:
            raise ValueError("nobody to thank")

    thank.no_compensation("words")


def sending(**faults: str) -> SagaRun:
    return drive(start_saga(Sending, Script(faults), key="k"))


def post(url: str, body: Any, client: Client | None = None) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    strict = client or Client(enforce_csrf_checks=True)
    return strict.post(url, data, content_type="application/json", REMOTE_ADDR="203.0.113.9")


def url_of(run: SagaRun, name: str, direction: str = "forward") -> str:
    row = step_of(run, name, direction=direction)
    return answer_url(answer_token(Request(row.pk, row.fence)))


def changes_nothing(url: str, body: Any, status: int) -> Any:
    before = everything()
    response = post(url, body)
    assert response.status_code == status, response.content
    assert everything() == before
    return response


SENT = {"status": "succeeded", "result": {"number": 7}}
LOST = {"status": "failed", "error": "no such address", "code": "NO_ADDRESS"}


class TestAnAnswer:
    def test_completes_the_step_that_gave_out_the_address(self) -> None:
        run = sending()
        assert post(URLS[0], SENT).status_code == 200
        assert step_of(run, "send").output == {"number": 7}
        event = run.events.get(type=EventType.STEP_SUCCEEDED, step__name="send")
        assert (event.actor, event.note) == ("webhook 203.0.113.9", "webhook")
        assert drive(run).state == SagaState.COMPLETED

    def test_fails_it(self) -> None:
        run = sending()
        assert post(URLS[0], LOST).json() == {"answer": "taken"}
        assert fresh(run).error_code == "NO_ADDRESS"
        assert drive(run).state == SagaState.COMPENSATED

    def test_completes_a_compensation_that_waits(self) -> None:
        run = sending(thank="no")
        post(URLS[0], SENT)
        drive(run)
        assert states(run, "backward") == {"send": StepState.WAITING}
        changes_nothing(URLS[1], SENT, 400)  # a compensation has no result
        assert post(URLS[1], {"status": "succeeded"}).status_code == 200
        assert fresh(run).state == SagaState.COMPENSATED

    def test_may_come_before_the_step_waits(self) -> None:
        run = start_saga(Sending, Script(), key="k")
        attempt = claimed(run, "send")
        url = answer_url(answer_token(Request(attempt.pk, attempt.fence)))
        assert post(url, SENT).status_code == 200
        changes_nothing(url, SENT, 200)
        run_out(run, "send")
        assert drive(run).state == SagaState.COMPLETED

    @pytest.mark.parametrize("body", [SENT, LOST])
    def test_that_is_delivered_twice_changes_nothing(self, body: dict[str, str]) -> None:
        run = sending()
        post(URLS[0], body)
        changes_nothing(URLS[0], body, 200)
        drive(run)
        changes_nothing(URLS[0], body, 200)

    def test_that_is_delivered_again_costs_three_short_queries_and_no_lock(
        self, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        run = sending()
        post(URLS[0], SENT)
        with held(run), django_assert_max_num_queries(3):
            assert post(URLS[0], SENT).status_code == 200

    def test_another_answer_to_the_same_request_is_late(self) -> None:
        sending()
        post(URLS[0], SENT)
        changes_nothing(URLS[0], {"status": "succeeded", "result": {"number": 8}}, 409)
        told = changes_nothing(URLS[0], LOST, 409).json()
        assert "send" not in told["error"]

    def test_a_late_success_is_recorded_and_undone(self) -> None:
        run = cancel_saga(sending(), reason="x")
        response = post(URLS[0], SENT)
        assert (response.status_code, response.json()) == (202, {"answer": "late"})
        assert step_of(run, "send").output == {"number": 7}
        changes_nothing(URLS[0], SENT, 202)
        changes_nothing(URLS[0], LOST, 409)
        drive(run)
        assert post(URLS[-1], {"status": "succeeded"}).status_code == 200
        assert fresh(run).state == SagaState.CANCELLED

    def test_to_a_request_that_was_given_up_for_another_is_late(self) -> None:
        run = drive(start_saga(Patient, Script({"act": "wait=60"}), key="k"))
        first = url_of(run, "act_outside")
        run_out(run, "act_outside")
        drive(run)
        changes_nothing(first, LOST, 409)
        assert post(first, {"status": "succeeded", "result": {"of": "it"}}).status_code == 200

    def test_to_a_request_of_before_a_rewind_says_nothing_of_the_one_after_it(self) -> None:
        run = sending()
        drive(rewind_saga(run, "send", reason="another address"))
        assert post(URLS[0], SENT).status_code == 202  # it was sent after all, and comes back
        drive(run)
        changes_nothing(URLS[1], {"status": "succeeded"}, 409)
        assert post(URLS[2], {"status": "succeeded"}).status_code == 200
        drive(run)
        changes_nothing(URLS[0], SENT, 200)
        assert states(run)["send"] == StepState.WAITING
        assert post(URLS[3], SENT).status_code == 200
        assert drive(run).state == SagaState.COMPLETED

    def test_to_a_saga_that_was_settled_by_hand_is_late(self) -> None:
        run = sending()
        SagaRun.objects.filter(pk=run.pk).update(state=SagaState.DEAD_LETTER)
        resolve_saga(run, reason="x")
        changes_nothing(URLS[0], SENT, 409)

    def test_after_an_operator_answered_is_late_or_the_same(self) -> None:
        run = sending()
        complete_step(run, "send", result=Parcel(7), reason="they rang")
        changes_nothing(URLS[0], SENT, 200)
        changes_nothing(URLS[0], LOST, 409)


class TestATokenThatIsNone:
    @pytest.mark.parametrize("forged", ["", "x", "a.b", "é.ü", "\x00.", "." * 4000])
    def test_is_refused_before_any_query(
        self, forged: str, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        token = answer_token(Request(UUID(int=7), 1)) + forged if len(forged) > 1 else forged or "-"
        with django_assert_num_queries(0):
            response = post(reverse("sagas:answer", args=[token]), SENT)
        assert response.status_code == 403

    def test_of_another_step_or_request_needs_another_signature(self) -> None:
        run = sending()
        row = step_of(run, "send")
        payload, _, signature = answer_token(Request(row.pk, 1)).rpartition(".")
        assert payload == f"{row.pk.hex}-1"
        for other in (f"{row.pk.hex}-2", f"{UUID(int=0).hex}-1"):
            url = reverse("sagas:answer", args=[f"{other}.{signature}"])
            changes_nothing(url, SENT, 403)

    def test_that_was_signed_for_something_else_is_refused(self) -> None:
        run = sending()
        row = step_of(run, "send")
        foreign = signing.Signer(sep=".", salt="password reset").sign(f"{row.pk.hex}-1")
        changes_nothing(reverse("sagas:answer", args=[foreign]), SENT, 403)

    def test_an_older_key_still_reads(self, settings: Settings) -> None:
        sending()
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "a new one"
        assert post(URLS[0], SENT).status_code == 200
        settings.SECRET_KEY_FALLBACKS = []
        changes_nothing(URLS[0], SENT, 403)

    def test_of_another_saga_answers_that_one_alone(self) -> None:
        run = sending()
        other = drive(start_saga(Sending, Script(), key="other"))
        post(URLS[1], SENT)
        assert states(run)["send"] == StepState.WAITING
        assert states(other)["send"] == StepState.SUCCEEDED

    def test_of_a_step_that_ended_by_itself_is_none_of_its_compensation(self) -> None:
        run = undoing()
        changes_nothing(url_of(run, "b"), {"status": "succeeded", "result": {"of": "x"}}, 409)
        assert states(run, "backward")["b"] == StepState.WAITING

    def test_of_a_saga_that_is_gone_is_unknown(self) -> None:
        run = sending()
        SagaRun.objects.filter(pk=run.pk).delete()
        assert post(URLS[0], SENT).status_code == 404


class TestABody:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff\xfe",
            b"status=succeeded",
            b"[]",
            b"null",
            b'"succeeded"',
            b"{",
            b'{"status": "done"}',
            b'{"status": null}',
            b'{"result": {"number": 7}}',
            b'{"status": "failed", "error": 7}',
            b'{"status": "succeeded", "results": {"number": 7}}',
            b'{"status": "succeeded", "result": {"number": "seven"}}',
            b'{"status": "succeeded", "result": {"number": NaN}}',
            b'{"status": "succeeded"}',
            b'{"status": "succeeded", "result": {"number": 7, "\\u0000": 1}}',
            b'{"status": "succeeded", "result": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        ],
    )
    def test_that_does_not_fit_changes_nothing_and_is_told_why(self, body: bytes) -> None:
        sending()
        told = changes_nothing(URLS[0], body, 400).json()
        assert told["code"] == "PAYLOAD"
        assert told["error"]

    def test_that_is_too_large_is_not_read_to_its_end(self, settings: Settings) -> None:
        sending()
        settings.SAGAS = {**settings.SAGAS, "MAX_PAYLOAD_BYTES": 1000}
        changes_nothing(URLS[0], b"x" * 1_000_000, 413)
        large = {"status": "succeeded", "result": "x" * 2000}
        run = five(b="wait")
        changes_nothing(url_of(run, "b"), {**large, "result": {"of": "x" * 2000}}, 413)

    def test_hostile_words_are_kept_as_text_and_cut(self, admin_client: Client) -> None:
        run = sending()
        post(URLS[0], {**LOST, "error": "<script>alert(1)</script>\x00" + "x" * 9000})
        error = fresh(run).error
        assert error.startswith("<script>")
        assert len(error.encode()) <= 2048
        page = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        assert "<script>alert" not in page.content.decode()

    @pytest.mark.parametrize("method", ["get", "put", "delete"])
    def test_only_a_post_answers(self, method: str) -> None:
        sending()
        before = everything()
        assert getattr(Client(), method)(URLS[0]).status_code == 405
        assert everything() == before


class TestTheRoad:
    @pytest.mark.postgres
    def test_a_saga_that_is_locked_is_to_be_answered_again_soon(self, settings: Settings) -> None:
        run = sending()
        settings.SAGAS = {**settings.SAGAS, "OPERATOR_LOCK_TIMEOUT_SECONDS": 0.2}
        with held(run):
            response = post(URLS[0], SENT)
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert post(URLS[0], SENT).status_code == 200

    def test_in_a_request_that_is_one_transaction(
        self, settings: Settings, messages: list[str]
    ) -> None:
        run = sending()
        messages.clear()
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert post(URLS[0], SENT).status_code == 200
            changes_nothing(URLS[0], LOST, 409)
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
        assert messages == ["sagas.tests.Sending.thank"]
        assert states(run)["send"] == StepState.SUCCEEDED

    async def _post_asynchronously(self) -> int:
        data = json.dumps(SENT)
        response = await AsyncClient().post(URLS[0], data, content_type="application/json")
        return int(response.status_code)

    def test_under_an_asynchronous_server(self) -> None:
        run = sending()
        assert async_to_sync(self._post_asynchronously)() == 200
        assert states(run)["send"] == StepState.SUCCEEDED

    def test_a_saga_whose_code_is_not_here_is_to_be_answered_again(self) -> None:
        run = sending()
        SagaRun.objects.filter(pk=run.pk).update(label="tests.Gone")
        assert changes_nothing(URLS[0], SENT, 503)["Retry-After"] == "5"


class TestTheAddress:
    def test_is_a_path_or_whole(self, settings: Settings) -> None:
        assert answer_url("t").endswith("/hooks/t/")
        assert answer_url("t").startswith("/")
        settings.SAGAS = {**settings.SAGAS, "BASE_URL": "https://shop.example/"}
        assert answer_url("t").startswith("https://shop.example/")

    def test_leads_nowhere_where_the_project_has_no_such_addresses(
        self, settings: Settings
    ) -> None:
        settings.ROOT_URLCONF = "examples.shop.urls"
        with pytest.raises(SagaConfigurationError, match=r'include\("sagas.urls"\)'):
            answer_url("t")

    def test_names_the_attempt_that_gives_it_out(self) -> None:
        run = sending()
        row = step_of(run, "send")
        assert read_answer_token(URLS[0].split("/")[-2]) == (row.pk, row.fence)

    def test_is_there_in_a_unit_test_too(self) -> None:
        with pytest.raises(Wait):
            Sending(Script()).send()
        assert URLS[0].endswith("/hooks/rehearsed/")
