"""Steps that wait for an outside party, in the admin: what they wait for, and answering for it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from sagas import start_saga
from sagas.admin.confirm import Subject
from sagas.admin.waits import Wait
from sagas.models import SagaRun, StepRun
from sagas.operations import complete_step, pause_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, expire_lease, fresh, states, step_of
from tests.factories import make_operator
from tests.integration.test_locks import held
from tests.traced import Five, Receipt, Script


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_sent(messages: list[str]) -> None:
    pass


def five(**faults: str) -> SagaRun:
    return drive(start_saga(Five, Script(faults), key="k"))


def undoing() -> SagaRun:
    """A saga that turned back and whose second compensation waits."""
    return five(d="permanent", undo_b="wait")


def url(verb: str, run: SagaRun, step: str) -> str:
    return reverse(f"admin:sagas_sagarun_{verb}", args=[run.pk, step])


def page_of(client: Client, run: SagaRun) -> Any:
    return client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))


def shown_wait(client: Client, run: SagaRun, name: str, *, backward: bool = False) -> Wait:
    lines = page_of(client, run).context["backward" if backward else "forward"]
    waits: dict[str, Wait] = {line.step.name: line.wait for line in lines if line.wait}
    assert list(waits) == [name]
    return waits[name]


def seen(run: SagaRun, step: StepRun) -> dict[str, str]:
    subject = Subject(fresh(run), is_allowed=True, step=step)
    return {subject.token_name: subject.token}


def post(client: Client, run: SagaRun, step: StepRun, verb: str, **fields: str) -> Any:
    data = {"reason": "they rang", **seen(run, step), **fields}
    return client.post(url(verb, run, step.name), data)


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


class TestTheLineOfAWait:
    def test_says_what_for_since_when_until_when_and_by_which_key(
        self, admin_client: Client
    ) -> None:
        run = five(b="wait=7200")
        wait = shown_wait(admin_client, run, "b")
        assert wait.asked_for == "others do b"
        assert wait.key == step_of(run, "b").idempotency_key
        assert wait.since == run.events.get(type=EventType.STEP_WAITING).at
        assert (wait.until, wait.is_by_deadline) == (run.deadline, True)

    def test_a_wait_that_ends_before_its_saga_says_so(self, admin_client: Client) -> None:
        run = five(b="wait=60")
        wait = shown_wait(admin_client, run, "b")
        assert (wait.until, wait.is_by_deadline) == (step_of(run, "b").lease_until, False)
        assert timedelta(0) < wait.left <= timedelta(seconds=60)
        text = page_of(admin_client, run).content.decode()
        assert "others do b" in text
        assert f"(in {wait.time_left[:1]}" in text
        assert "overdue" not in text

    def test_a_wait_without_an_end_lasts_until_the_deadline(self, admin_client: Client) -> None:
        run = five(b="wait")
        assert step_of(run, "b").lease_until is None
        wait = shown_wait(admin_client, run, "b")
        assert (wait.until, wait.is_by_deadline) == (run.deadline, True)
        assert "the saga's deadline" in page_of(admin_client, run).content.decode()

    def test_a_best_effort_step_tried_after_the_end_waits_as_long_as_it_takes(
        self, admin_client: Client
    ) -> None:
        run = five(b="wait")
        SagaRun.objects.filter(pk=run.pk).update(
            state=SagaState.COMPLETED, completed_at=timezone.now()
        )
        assert shown_wait(admin_client, run, "b").until is None
        assert "it has no end of its own" in page_of(admin_client, run).content.decode()

    def test_a_compensation_waits_too_and_no_deadline_ends_it(self, admin_client: Client) -> None:
        run = undoing()
        wait = shown_wait(admin_client, run, "b", backward=True)
        undo = step_of(run, "b", direction="backward")
        assert (wait.until, wait.is_by_deadline) == (undo.lease_until, False)

    def test_a_wait_whose_time_is_up_is_overdue(self, admin_client: Client) -> None:
        run = five(b="wait=60")
        expire_lease(step_of(run, "b").pk)
        assert shown_wait(admin_client, run, "b").is_overdue
        text = page_of(admin_client, run).content.decode()
        assert "overdue by" in text
        assert "saga-wait saga-warning" in text

    def test_the_time_of_a_paused_saga_stands_still(self, admin_client: Client) -> None:
        run = five(b="wait=60")
        pause_saga(run, reason="x")
        left = shown_wait(admin_client, run, "b").left
        assert left == shown_wait(admin_client, run, "b").left
        expire_lease(step_of(run, "b").pk)
        assert not shown_wait(admin_client, run, "b").is_overdue
        assert "its time stands still" in page_of(admin_client, run).content.decode()

    def test_what_the_handler_said_stays_text(self, admin_client: Client) -> None:
        run = five(b="wait")
        hostile = {**(step_of(run, "b").wait or {}), "note": "<script>alert(1)</script>"}
        run.steps.filter(name="b").update(wait=hostile)
        assert shown_wait(admin_client, run, "b").asked_for == "<script>alert(1)</script>"
        assert "<script>alert(1)" not in page_of(admin_client, run).content.decode()

    def test_a_step_that_waits_again_tells_of_its_latest_wait(self, admin_client: Client) -> None:
        run = five(b="wait")
        first = run.events.get(type=EventType.STEP_WAITING)
        first.pk, first.at = None, first.at + timedelta(seconds=5)
        first.save()
        assert shown_wait(admin_client, run, "b").since == first.at

    def test_costs_one_query_however_many_wait(
        self, admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        run = five(b="wait")
        with django_assert_max_num_queries(12):
            page_of(admin_client, run)


class TestOffersOnWaits:
    def test_a_step_that_waits_can_be_completed_failed_or_skipped(
        self, admin_client: Client
    ) -> None:
        run = five(b="wait")
        text = page_of(admin_client, run).content.decode()
        for verb in ("complete_step", "fail_step", "skip_step"):
            assert text.count(url(verb, run, "b")) == 1
            assert url(verb, run, "a") not in text

    def test_answering_takes_a_permission_of_its_own(self, client: Client) -> None:
        run = five(b="wait")
        client.force_login(make_operator("view_sagarun", "skip_step_sagarun"))
        assert url("complete_step", run, "b") not in page_of(client, run).content.decode()
        for verb in ("complete_step", "fail_step"):
            assert client.get(url(verb, run, "b")).status_code == 403
            assert post(client, run, step_of(run, "b"), verb).status_code == 403
        assert states(run)["b"] == StepState.WAITING

    def test_whoever_has_the_permission_may_complete_and_fail(self, client: Client) -> None:
        run = five(b="wait")
        client.force_login(make_operator("view_sagarun", "answer_step_sagarun"))
        for verb in ("complete_step", "fail_step"):
            assert client.get(url(verb, run, "b")).status_code == 200


class TestPagesOfAnAnswer:
    @pytest.mark.parametrize("verb", ["complete_step", "fail_step"])
    def test_asking_for_a_page_changes_nothing(self, admin_client: Client, verb: str) -> None:
        run = five(b="wait")
        page = admin_client.get(url(verb, run, "b")).content.decode()
        assert "others do b" in page
        assert step_of(run, "b").idempotency_key in page
        assert ('name="result"' in page) == (verb == "complete_step")
        assert ('name="error"' in page) == (verb == "fail_step")
        assert states(run)["b"] == StepState.WAITING

    def test_a_result_is_typed_in_and_the_saga_goes_on(self, admin_client: Client) -> None:
        run = five(b="wait")
        response = post(
            admin_client, run, step_of(run, "b"), "complete_step", result='{"of": "outside"}'
        )
        assert response.status_code == 302
        assert told(response) == ["Complete step: done for 1 saga."]
        assert step_of(run, "b").output == {"of": "outside"}
        event = run.events.get(type=EventType.STEP_SUCCEEDED, step=step_of(run, "b"))
        assert (event.actor, event.note) == ("admin", "they rang")
        assert LogEntry.objects.get().change_message == "Complete step b: they rang"
        assert drive(run).state == SagaState.COMPLETED

    def test_a_failure_turns_the_saga_back_with_its_error_and_code(
        self, admin_client: Client
    ) -> None:
        run = five(b="wait")
        typed = {"error": "over budget", "code": "REFUSED"}
        post(admin_client, run, step_of(run, "b"), "fail_step", **typed)
        after = fresh(run)
        assert (after.state, after.failed_step) == (SagaState.COMPENSATING, "b")
        assert (after.error_code, after.error) == ("REFUSED", "over budget")
        event = run.events.get(type=EventType.STEP_FAILED)
        assert (event.actor, event.note) == ("admin", "they rang; REFUSED: over budget")

    def test_without_an_error_the_reason_is_the_error(self, admin_client: Client) -> None:
        run = five(b="wait")
        post(admin_client, run, step_of(run, "b"), "fail_step")
        assert (fresh(run).error_code, fresh(run).error) == ("FAILED_OUTSIDE", "they rang")

    def test_a_compensation_is_completed_without_a_result(self, admin_client: Client) -> None:
        run = undoing()
        undo = step_of(run, "b", direction="backward")
        assert (
            'name="result"' not in admin_client.get(url("complete_step", run, "b")).content.decode()
        )
        post(admin_client, run, undo, "complete_step")
        assert drive(run).state == SagaState.COMPENSATED

    def test_a_compensation_that_fails_leaves_a_dead_letter(self, admin_client: Client) -> None:
        run = undoing()
        post(admin_client, run, step_of(run, "b", direction="backward"), "fail_step")
        assert fresh(run).state == SagaState.DEAD_LETTER


class TestMistakesInAnAnswer:
    @pytest.mark.parametrize(
        ("typed", "complaint"),
        [
            ('{"of": 7}', "the result of b of tests.Five is not a valid Receipt"),
            ("", "the result of b of tests.Five is not a valid Receipt"),
            ("{", "This is not valid JSON"),
        ],
    )
    def test_a_mistake_is_told_beside_the_field_and_nothing_is_lost(
        self, admin_client: Client, typed: str, complaint: str
    ) -> None:
        run = five(b="wait")
        response = post(admin_client, run, step_of(run, "b"), "complete_step", result=typed)
        assert response.status_code == 200
        (error,) = response.context["form"].errors["result"]
        assert error.startswith(complaint)
        assert "they rang" in response.content.decode()
        assert states(run)["b"] == StepState.WAITING

    def test_an_answer_needs_a_reason(self, admin_client: Client) -> None:
        run = five(b="wait")
        for verb in ("complete_step", "fail_step"):
            response = post(admin_client, run, step_of(run, "b"), verb, reason="", result="{}")
            assert response.context["form"].errors["reason"]
        assert states(run)["b"] == StepState.WAITING

    @pytest.mark.parametrize("verb", ["complete_step", "fail_step"])
    def test_a_step_that_was_answered_meanwhile_leads_back(
        self, admin_client: Client, verb: str
    ) -> None:
        run = five(b="wait")
        before = seen(run, step_of(run, "b"))
        complete_step(run, "b", result=Receipt("webhook"), reason="x")
        data = {"reason": "they rang", "result": '{"of": "hand"}', **before}
        response = admin_client.post(url(verb, run, "b"), data)
        assert response.status_code == 302
        (message,) = told(response)
        assert "changed since the page was loaded" in message
        assert step_of(run, "b").output == {"of": "webhook"}

    def test_a_locked_run_is_said_on_the_page_and_the_text_is_kept(
        self, admin_client: Client, settings: Settings
    ) -> None:
        settings.SAGAS = {**settings.SAGAS, "OPERATOR_LOCK_TIMEOUT_SECONDS": 0.1}
        run = five(b="wait")
        with held(run):
            step = step_of(run, "b")
            response = post(admin_client, run, step, "complete_step", result='{"of": "hand"}')
        assert response.status_code == 200
        assert "is locked" in response.content.decode()
        assert response.context["form"]["result"].value() == '{"of": "hand"}'
        assert states(run)["b"] == StepState.WAITING

    def test_a_forged_request_is_refused(self, admin_user: Any) -> None:
        run = five(b="wait")
        forger = Client(enforce_csrf_checks=True)
        forger.force_login(admin_user)
        for verb in ("complete_step", "fail_step"):
            assert post(forger, run, step_of(run, "b"), verb).status_code == 403
        assert states(run)["b"] == StepState.WAITING
