"""Approvals in the admin and on the command line (R88)."""

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from sagas.admin.confirm import Subject
from sagas.models import SagaRun
from sagas.operations import approve_step
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, everything, fresh, states, step_of
from tests.factories import make_operator
from tests.integration.test_approvals import Limit, person, refund


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def page(client: Client, run: SagaRun) -> str:
    text: str = client.get(reverse("admin:sagas_sagarun_change", args=[run.pk])).content.decode()
    return text


def post(client: Client, run: SagaRun, verb: str, **fields: str) -> Any:
    subject = Subject(fresh(run), is_allowed=True, step=step_of(run, "approve"))
    data = {"reason": "fine", subject.token_name: subject.token, **fields}
    return client.post(reverse(f"admin:sagas_sagarun_{verb}", args=[run.pk, "approve"]), data)


def staff(*codenames: str) -> Client:
    operator = make_operator("view_sagarun")
    operator.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(operator)
    return client


class TestAdmin:
    def test_shows_what_is_asked_of_whom_and_offers_it_to_them(self) -> None:
        run = refund(four_eyes="yes", remind="60", timeout="600")
        approve_step(run, "approve", reason="x", actor=person("ann", "revert_sagarun"))
        text = page(staff("revert_sagarun"), run)
        assert "refund over 500" in text
        assert "2 people who have sagas.revert_sagarun" in text
        assert "Approved so far by" in text
        assert "Reminder" in text
        assert "approve_step/approve/" in text
        assert "reject_step/approve/" in text
        assert "complete_step" not in text

    def test_does_not_offer_it_to_others_and_refuses_them(self) -> None:
        run = refund()
        client = staff("answer_step_sagarun", "skip_step_sagarun")
        assert "approve_step" not in page(client, run)
        before = everything()
        for verb in ("approve_step", "reject_step"):
            assert post(client, run, verb).status_code == 403
        assert everything() == before

    def test_the_form_has_the_type_of_the_result_and_what_the_first_one_said(self) -> None:
        run = refund(four_eyes="yes")
        ann = person("ann", "revert_sagarun")
        approve_step(run, "approve", reason="x", actor=ann, result=Limit(600))
        client = staff("revert_sagarun")
        url = reverse("admin:sagas_sagarun_approve_step", args=[run.pk, "approve"])
        text = client.get(url).content.decode()
        assert "Limit | None" in text
        assert "{&quot;euros&quot;: 600}" in text
        assert post(client, run, "approve_step", result='{"euros": 600}').status_code == 302
        assert drive(run).state == SagaState.COMPLETED
        events = run.events.filter(type=EventType.STEP_APPROVED).values_list("actor", flat=True)
        assert list(events) == ["ann", "operator"]

    def test_the_second_click_of_one_person_is_told_of_the_first(self) -> None:
        run = refund(four_eyes="yes")
        client = staff("revert_sagarun")
        post(client, run, "approve_step")
        assert (
            "somebody else is to approve it too"
            in post(client, run, "approve_step").content.decode()
        )
        assert states(run)["approve"] == StepState.WAITING

    def test_rejects(self) -> None:
        run = refund()
        post(staff("revert_sagarun"), run, "reject_step", reason="a fraud")
        assert fresh(run).error == "rejected by operator: a fraud"


class TestCommandLine:
    def say(self, run: SagaRun, verb: str, *arguments: str) -> str:
        out = StringIO()
        call_command("saga", verb, str(run.pk), "approve", *arguments, stdout=out)
        return out.getvalue()

    def test_approves_in_somebodys_name_and_keeps_who_typed_it(self) -> None:
        person("ann", "revert_sagarun")
        run = refund()
        arguments = ("--actor", "ann", "--reason", "by phone", "--result", '{"euros": 9}')
        assert self.say(run, "approve-step", *arguments) == "k: running\n"
        event = run.events.get(type=EventType.STEP_APPROVED)
        assert event.actor == "ann"
        assert event.note.startswith("by phone (cli:")

    def test_rejects(self) -> None:
        person("ann", "revert_sagarun")
        run = refund()
        assert self.say(run, "reject-step", "--actor", "ann", "--reason", "no") == (
            "k: compensating\n"
        )

    def test_refuses_who_may_not(self) -> None:
        User.objects.create_user("eve")
        run = refund()
        for name in ("eve", "nobody"):
            with pytest.raises(CommandError, match=name):
                self.say(run, "approve-step", "--actor", name, "--reason", "x")
        with pytest.raises(CommandError, match="--actor"):
            self.say(run, "approve-step", "--reason", "x")
