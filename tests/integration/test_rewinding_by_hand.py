"""Rewinding from the admin and on the command line."""

import json
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client
from django.urls import reverse

from sagas import start_saga
from sagas.admin.confirm import Subject
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState
from tests.driving import drive, fresh, run_one, step_of
from tests.factories import make_operator
from tests.integration.test_saga_verbs import saga
from tests.traced import CALLS, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

CORRECTED = json.dumps({"faults": {"x": "y"}})
HOSTILE = (
    "{",
    "[" * 100_000,
    "3",
    '{"faults": 3}',
    '{"faults": {"a": "\\u0000"}}',
    '{"faults": {"<script>alert(1)</script>": 7}}',
)


@pytest.fixture
def run() -> SagaRun:
    run = start_saga(Five, Script(), key="five")
    for _ in range(3):
        run_one(run)
    return fresh(run)


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_operator("view_sagarun", "rewind_sagarun"))
    return client


def url(run: SagaRun, name: str) -> str:
    return reverse("admin:sagas_sagarun_rewind", args=[run.pk, name])


def post(client: Client, run: SagaRun, step: StepRun, **fields: str) -> Any:
    subject = Subject(fresh(run), is_allowed=True, step=step)
    data = {"reason": "ticket 17", subject.token_name: subject.token, **fields}
    return client.post(url(run, step.name), data)


class TestAdmin:
    def test_the_page_says_what_is_undone_and_what_stands(
        self, operator: Client, run: SagaRun
    ) -> None:
        page = operator.get(url(run, "b")).content.decode()
        assert page.index("undo_c") < page.index("undo_b")
        assert "undo_a" not in page
        assert "b, c, d, e" in page
        assert "Script" in page

    def test_it_is_done_with_the_corrected_input(self, operator: Client, run: SagaRun) -> None:
        response = post(operator, run, step_of(run, "b"), input=CORRECTED)
        assert response.status_code == 302
        run = drive(run)
        assert (run.state, run.input) == (SagaState.COMPLETED, json.loads(CORRECTED))
        assert run.events.get(type="rewinding").actor == "operator"

    def test_an_empty_field_keeps_the_input(self, operator: Client, run: SagaRun) -> None:
        post(operator, run, step_of(run, "b"), input="  ")
        assert drive(run).input == {"faults": {}}
        assert CALLS[3:] == ["undo_c(c)", "undo_b(b)", "b", "c", "d", "e"]

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_what_is_no_input_is_said_in_the_form(
        self, operator: Client, run: SagaRun, text: str
    ) -> None:
        response = post(operator, run, step_of(run, "b"), input=text)
        assert response.status_code == 200
        assert response.context["form"].errors["input"]
        assert b"<script>alert" not in response.content
        assert fresh(run).state == SagaState.RUNNING

    def test_it_is_offered_for_what_has_begun(self, operator: Client, run: SagaRun) -> None:
        page = operator.get(reverse("admin:sagas_sagarun_change", args=[run.pk])).content.decode()
        assert [url(run, name) in page for name in "abcde"] == [True, True, True, False, False]

    def test_others_may_not(self, client: Client, run: SagaRun) -> None:
        client.force_login(make_operator("view_sagarun", "cancel_sagarun"))
        assert client.get(url(run, "b")).status_code == 403
        assert post(client, run, step_of(run, "b")).status_code == 403
        page = client.get(reverse("admin:sagas_sagarun_change", args=[run.pk])).content.decode()
        assert url(run, "b") not in page

    def test_the_earlier_life_is_shown_as_such(self, operator: Client, run: SagaRun) -> None:
        post(operator, run, step_of(run, "c"))
        drive(run)
        page = operator.get(reverse("admin:sagas_sagarun_change", args=[run.pk])).content.decode()
        assert "ended by rewind 1" in page
        assert f"{run.pk}/2:c" in page


class TestCommandLine:
    def test_it_takes_the_step_and_the_input(self, run: SagaRun) -> None:
        text = saga("rewind", "five", "--to", "b", "--input", CORRECTED, "--reason", "wrong")
        assert text == "five: compensating\n"
        assert drive(run).input == json.loads(CORRECTED)

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_what_is_no_input_changes_nothing(self, run: SagaRun, text: str) -> None:
        with pytest.raises(CommandError):
            saga("rewind", "five", "--to", "b", "--input", text, "--reason", "wrong")
        assert fresh(run).state == SagaState.RUNNING

    def test_a_refusal_is_one_sentence(self, run: SagaRun) -> None:
        with pytest.raises(CommandError, match="d has not begun, so there is nothing to undo"):
            saga("rewind", "five", "--to", "d", "--reason", "wrong")
