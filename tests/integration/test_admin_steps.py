"""Acting on single steps from the admin, and seeing what would be undone before it is."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from sagas import start_saga
from sagas.admin.confirm import Subject
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    allowed_step_actions,
    cancel_saga,
    complete_step,
    fail_step,
    retry_step,
    rewind_saga,
    skip_step,
)
from sagas.states import SagaState, StepState
from tests.driving import drive, fresh, run_one, states, step_of
from tests.factories import make_operator
from tests.mild import Mild
from tests.traced import CALLS, Receipt, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


ACTS: dict[str, Callable[..., SagaRun]] = {
    "complete_step": partial(complete_step, result=Receipt("hand")),
    "fail_step": partial(fail_step, error="over budget"),
    "retry_step": retry_step,
    "rewind": rewind_saga,
    "skip_step": skip_step,
}


def mild(done: int = 0, **faults: str) -> SagaRun:
    run = start_saga(Mild, Script(faults), key="k")
    for _ in range(done):
        run_one(run)
    return fresh(run)


def warned() -> SagaRun:
    """Completed, but for a best-effort step that failed."""
    return mild(4, tell="permanent")


def stuck() -> SagaRun:
    """A dead letter whose second of three compensations failed for good."""
    run = mild(3, undo_note="permanent")
    cancel_saga(run, reason="x")
    return drive(run)


def url(verb: str, run: SagaRun, step: str) -> str:
    return reverse(f"admin:sagas_sagarun_{verb}", args=[run.pk, step])


def seen(run: SagaRun, step: StepRun) -> dict[str, str]:
    """What a page that shows this step posts back about it."""
    subject = Subject(fresh(run), is_allowed=True, step=step)
    return {subject.token_name: subject.token}


def post(client: Client, run: SagaRun, step: StepRun, verb: str, **fields: str) -> Any:
    data = {"reason": "ticket 17", **seen(run, step), **fields}
    return client.post(url(verb, run, step.name), data)


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


class TestOffersOnSteps:
    def test_each_step_offers_what_its_state_allows(self, admin_client: Client) -> None:
        run = warned()
        page = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        text = page.content.decode()
        for verb in ("retry_step", "skip_step"):
            assert url(verb, run, "tell") in text
            assert url(verb, run, "b") not in text

    def test_of_a_step_that_is_being_undone_the_compensation_is_meant(
        self, admin_client: Client
    ) -> None:
        run = stuck()
        page = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        text = page.content.decode()
        assert text.count(url("skip_step", run, "note")) == 1
        assert text.index(url("skip_step", run, "note")) > text.index('id="compensations"')

    def test_of_a_step_that_nobody_can_tell_happened_the_step_itself_is_meant(
        self, admin_client: Client
    ) -> None:
        run = stuck()
        note = StepRun.objects.forward().filter(run=run, name="note")
        note.update(state=StepState.UNKNOWN, options={"on_unknown": "hold"})
        page = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        text = page.content.decode()
        assert text.count(url("skip_step", run, "note")) == 1
        assert text.index(url("skip_step", run, "note")) < text.index('id="compensations"')
        asked = admin_client.get(url("skip_step", run, "note")).content.decode()
        assert 'name="result"' in asked

    def test_only_what_the_user_may_do_is_offered(self, client: Client) -> None:
        run = warned()
        client.force_login(make_operator("view_sagarun", "retry_sagarun"))
        page = client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        assert url("retry_step", run, "tell") in page.content.decode()
        assert url("skip_step", run, "tell") not in page.content.decode()
        assert client.get(url("skip_step", run, "tell")).status_code == 403

    @pytest.mark.parametrize(
        "prepare",
        [
            mild,
            lambda: mild(1),
            lambda: mild(2, note="permanent"),
            lambda: mild(2, note="wait"),
            warned,
            stuck,
        ],
    )
    def test_what_is_offered_is_accepted_and_all_else_refused(
        self, prepare: Callable[[], SagaRun]
    ) -> None:
        run = prepare()
        steps = list(run.steps.all())
        offered = allowed_step_actions(run, steps)
        for name in {step.name for step in steps}:
            # An answer that comes early or late is taken too, though nobody is asked for it.
            for verb in ("retry_step", "skip_step"):
                if verb not in offered.get(name, ()):
                    with pytest.raises(ActionNotAllowed):
                        ACTS[verb](run, name, reason="x")
        (name, verbs) = next(iter(offered.items()), ("", frozenset()))
        for verb in sorted(verbs)[:1]:
            ACTS[verb](run, name, reason="x")


class TestPagesOfAStep:
    @pytest.mark.parametrize("verb", ["retry_step", "skip_step"])
    def test_asking_for_a_page_changes_nothing(self, admin_client: Client, verb: str) -> None:
        run = warned()
        page = admin_client.get(url(verb, run, "tell")).content.decode()
        assert "tell refused" in page
        assert step_of(run, "tell").idempotency_key in page
        assert ('name="result"' in page) == (verb == "skip_step")
        assert states(run)["tell"] == StepState.FAILED

    def test_a_retry_is_done_and_recorded(self, admin_client: Client) -> None:
        run = warned()
        response = post(admin_client, run, step_of(run, "tell"), "retry_step")
        assert response.status_code == 302
        assert told(response) == ["Retry step: done for 1 saga."]
        assert states(run)["tell"] == StepState.READY
        assert LogEntry.objects.get().change_message == "Retry step tell: ticket 17"

    def test_a_result_is_typed_in_and_seen_by_others(self, admin_client: Client) -> None:
        run = mild(1)
        page = admin_client.get(url("skip_step", run, "note")).content.decode()
        assert "as JSON: Receipt" in page
        response = post(
            admin_client, run, step_of(run, "note"), "skip_step", result='{"of": "hand"}'
        )
        assert told(response) == ["Skip step: done for 1 saga."]
        assert states(run)["note"] == StepState.SUCCEEDED
        assert drive(run).state == SagaState.COMPLETED
        assert "b after hand" in CALLS

    def test_a_step_without_a_result_is_skipped(self, admin_client: Client) -> None:
        run = mild(1)
        post(admin_client, run, step_of(run, "note"), "skip_step", result="  ")
        assert states(run)["note"] == StepState.SKIPPED

    def test_a_compensation_takes_no_result(self, admin_client: Client) -> None:
        run = stuck()
        undo = step_of(run, "note", direction="backward")
        page = admin_client.get(url("skip_step", run, "note")).content.decode()
        assert 'name="result"' not in page
        assert post(admin_client, run, undo, "skip_step").status_code == 302
        assert fresh(run).state == SagaState.COMPENSATING


class TestMistakes:
    @pytest.mark.parametrize(
        ("typed", "complaint"),
        [
            ('{"of": 7}', "the result of note of tests.Mild is not a valid Receipt"),
            ('{"of": "hand"', "This is not valid JSON"),
            ("</textarea><script>alert(1)</script>", "This is not valid JSON"),
        ],
    )
    def test_a_mistake_is_told_beside_the_field_and_nothing_is_lost(
        self, admin_client: Client, typed: str, complaint: str
    ) -> None:
        run = mild(1)
        response = post(admin_client, run, step_of(run, "note"), "skip_step", result=typed)
        assert response.status_code == 200
        (error,) = response.context["form"].errors["result"]
        assert error.startswith(complaint)
        assert response.context["form"]["result"].value() == typed
        assert "ticket 17" in response.content.decode()
        assert "<script>alert" not in response.content.decode()
        assert states(run)["note"] == StepState.READY

    def test_a_step_that_moved_meanwhile_is_left_alone_and_the_text_is_kept(
        self, admin_client: Client
    ) -> None:
        run = warned()
        before = seen(run, step_of(run, "tell"))
        retry_step(run, "tell", reason="somebody else")
        data = {"reason": "ticket 17", "result": '{"of": "hand"}', **before}
        page = admin_client.post(url("skip_step", run, "tell"), data)
        assert page.status_code == 200
        assert "changed since the page was loaded" in page.content.decode()
        assert page.context["form"]["result"].value() == '{"of": "hand"}'
        assert states(run)["tell"] == StepState.READY

    def test_a_step_that_allows_an_action_no_more_leads_back(self, admin_client: Client) -> None:
        run = mild(2)
        response = post(admin_client, run, step_of(run, "note"), "skip_step")
        assert response.status_code == 302
        assert len(told(response)) == 1
        assert states(run)["note"] == StepState.SUCCEEDED

    def test_a_step_that_does_not_exist_is_not_found(self, admin_client: Client) -> None:
        assert admin_client.get(url("skip_step", mild(), "nothing")).status_code == 404

    def test_a_forged_request_is_refused(self, admin_user: Any) -> None:
        run = mild(1)
        forger = Client(enforce_csrf_checks=True)
        forger.force_login(admin_user)
        assert post(forger, run, step_of(run, "note"), "skip_step").status_code == 403
        assert states(run)["note"] == StepState.READY


class TestPreview:
    @pytest.mark.parametrize("verb", ["cancel", "compensate"])
    def test_what_would_be_undone_is_listed_in_order(self, admin_client: Client, verb: str) -> None:
        run = mild(3)
        page = admin_client.get(reverse(f"admin:sagas_sagarun_{verb}", args=[run.pk]))
        text = page.content.decode()
        places = [text.index(f">undo_{name}<") for name in ("b", "note", "a")]
        assert places == sorted(places)
        assert "undo_tell" not in text

    def test_what_would_be_undone_of_a_completed_saga_is_listed_too(
        self, admin_client: Client
    ) -> None:
        run = mild(4)
        page = admin_client.get(reverse("admin:sagas_sagarun_revert", args=[run.pk]))
        assert ">undo_tell<" in page.content.decode()

    def test_where_nothing_is_undone_nothing_is_listed(self, admin_client: Client) -> None:
        run = mild(1)
        page = admin_client.get(reverse("admin:sagas_sagarun_pause", args=[run.pk]))
        assert "would be undone" not in page.content.decode()
