"""Acting on sagas from the admin: asked first, done once, told to whoever comes after."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from sagas import operations
from sagas.admin import confirm
from sagas.admin.confirm import Subject
from sagas.models import SagaRun
from sagas.operations.verbs import VERBS
from sagas.states import SagaState
from tests.factories import make_dead_letter, make_operator, make_run, make_running


pytestmark = pytest.mark.django_db

LIST = "admin:sagas_sagarun_changelist"
NAMES = ("retry", "cancel", "compensate", "resolve")


def make_for(verb: str) -> SagaRun:
    """A run whose state allows ``verb``."""
    return make_dead_letter() if verb in {"retry", "resolve"} else make_running()


def url(verb: str, run: SagaRun) -> str:
    return reverse(f"admin:sagas_sagarun_{verb}", args=[run.pk])


def seen(*runs: SagaRun) -> dict[str, str]:
    """What a page that shows these runs posts back about them."""
    subjects = [Subject(run, is_allowed=True) for run in runs]
    return {subject.token_name: subject.token for subject in subjects}


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


class TestAVerbOnOneRun:
    @pytest.mark.parametrize("verb", NAMES)
    def test_the_page_asks_and_changes_nothing(self, admin_client: Client, verb: str) -> None:
        run = make_for(verb)
        response = admin_client.get(url(verb, run))
        assert response.status_code == 200
        assert 'name="reason"' in response.content.decode()
        assert SagaRun.objects.get().state == run.state

    @pytest.mark.parametrize(
        ("verb", "state"),
        [
            ("retry", SagaState.RUNNING),
            ("cancel", SagaState.COMPENSATING),
            ("compensate", SagaState.COMPENSATING),
            ("resolve", SagaState.RESOLVED),
        ],
    )
    def test_a_reason_makes_the_verb_happen(
        self, admin_client: Client, verb: str, state: SagaState
    ) -> None:
        run = make_for(verb)
        response = admin_client.post(url(verb, run), {"reason": "ticket 17", **seen(run)})
        assert response.status_code == 302
        assert SagaRun.objects.get().state == state
        assert "done for 1 saga." in told(response)[0]

    @pytest.mark.parametrize("verb", NAMES)
    def test_who_acted_and_why_is_kept_in_both_histories(
        self, admin_client: Client, verb: str
    ) -> None:
        run = make_for(verb)
        admin_client.post(url(verb, run), {"reason": "ticket 17", **seen(run)})
        assert run.events.filter(actor="admin", note__contains="ticket 17").exists()
        entry = LogEntry.objects.get()
        assert (entry.object_id, entry.user.get_username()) == (str(run.pk), "admin")
        assert "ticket 17" in entry.change_message

    @pytest.mark.parametrize("reason", ["", "   ", "\x00", "x" * 501])
    def test_without_a_good_reason_nothing_happens(self, admin_client: Client, reason: str) -> None:
        run = make_dead_letter()
        response = admin_client.post(url("retry", run), {"reason": reason, **seen(run)})
        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
        assert SagaRun.objects.get().state == SagaState.DEAD_LETTER

    def test_a_page_left_open_does_not_act_on_a_run_that_changed(
        self, admin_client: Client
    ) -> None:
        run = make_dead_letter()
        SagaRun.objects.update(updated_at=timezone.now())
        response = admin_client.post(url("retry", run), {"reason": "old page", **seen(run)})
        assert "changed since the page was loaded" in told(response)[0]
        assert SagaRun.objects.get().state == SagaState.DEAD_LETTER
        assert not LogEntry.objects.exists()

    def test_a_post_that_does_not_say_what_it_saw_is_refused(self, admin_client: Client) -> None:
        run = make_dead_letter()
        admin_client.post(url("retry", run), {"reason": "blind"})
        assert SagaRun.objects.get().state == SagaState.DEAD_LETTER

    def test_a_verb_that_the_state_does_not_allow_is_not_asked(self, admin_client: Client) -> None:
        run = make_run(SagaState.COMPLETED)
        response = admin_client.get(url("retry", run))
        assert response.status_code == 302
        assert "is Completed" in told(response)[0]

    @pytest.mark.parametrize("verb", NAMES)
    def test_each_verb_has_its_own_permission(self, client: Client, verb: str) -> None:
        others = [f"{other}_sagarun" for other in NAMES if other != verb]
        client.force_login(make_operator("view_sagarun", *others))
        run = make_for(verb)
        assert client.get(url(verb, run)).status_code == 403
        data = {"reason": "not mine", **seen(run)}
        assert client.post(url(verb, run), data).status_code == 403
        assert SagaRun.objects.get().state == run.state

    def test_acting_needs_seeing(self, client: Client) -> None:
        client.force_login(make_operator("retry_sagarun"))
        assert client.get(url("retry", make_dead_letter())).status_code == 403

    def test_a_stranger_is_sent_to_the_login(self, client: Client) -> None:
        assert "login" in client.get(url("retry", make_dead_letter()))["Location"]

    def test_a_forged_post_is_refused(self, admin_user: Any) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(admin_user)
        run = make_dead_letter()
        response = client.post(url("retry", run), {"reason": "forged", **seen(run)})
        assert response.status_code == 403

    def test_an_unknown_run_is_not_found(self, admin_client: Client) -> None:
        run = make_dead_letter()
        address = url("retry", run)
        SagaRun.objects.all().delete()
        assert admin_client.get(address).status_code == 404


class TestAVerbOnSeveralRuns:
    def test_first_the_page_asks(self, admin_client: Client) -> None:
        run = make_dead_letter()
        response = admin_client.post(reverse(LIST), select("retry", run))
        assert response.status_code == 200
        assert "create_shipment" in response.content.decode()
        assert SagaRun.objects.get().state == SagaState.DEAD_LETTER

    def test_each_gets_its_own_result(self, admin_client: Client) -> None:
        good, running, other = make_dead_letter("a"), make_running("b"), make_dead_letter("c")
        response = admin_client.post(reverse(LIST), confirmed("retry", good, running, other))
        states = dict(SagaRun.objects.values_list("key", "state"))
        assert states == {"a": "running", "b": "running", "c": "running"}
        done, refused = told(response)
        assert "done for 2 sagas." in done
        assert "b is running" in refused
        assert LogEntry.objects.count() == 2

    def test_a_run_that_changed_meanwhile_is_left_alone(self, admin_client: Client) -> None:
        stale, good = make_dead_letter("a"), make_dead_letter("b")
        data = confirmed("retry", stale, good)
        SagaRun.objects.filter(key="a").update(updated_at=timezone.now())
        response = admin_client.post(reverse(LIST), data)
        assert dict(SagaRun.objects.values_list("key", "state"))["a"] == "dead_letter"
        assert "a changed since" in told(response)[1]

    def test_cancelling_works_as_retrying_does(self, admin_client: Client) -> None:
        run = make_running()
        admin_client.post(reverse(LIST), confirmed("cancel", run))
        assert SagaRun.objects.get().outcome_when_undone == SagaState.CANCELLED

    def test_without_a_reason_the_page_asks_again(self, admin_client: Client) -> None:
        run = make_dead_letter()
        data = {**confirmed("retry", run), "reason": ""}
        response = admin_client.post(reverse(LIST), data)
        assert response.status_code == 200
        assert SagaRun.objects.get().state == SagaState.DEAD_LETTER

    def test_afterwards_the_list_is_filtered_as_before(self, admin_client: Client) -> None:
        run = make_dead_letter()
        asked = admin_client.post(f"{reverse(LIST)}?q=order", select("retry", run))
        assert 'name="filters" value="q=order"' in asked.content.decode()
        data = {**confirmed("retry", run), "filters": "q=order"}
        response = admin_client.post(reverse(LIST), data)
        assert response["Location"] == f"{reverse(LIST)}?q=order"

    def test_many_refusals_are_summed_up(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(confirm, "REFUSALS_SHOWN", 1)
        runs = [make_running(str(number)) for number in range(3)]
        response = admin_client.post(reverse(LIST), confirmed("retry", *runs))
        assert len(told(response)) == 2
        assert "2 more were refused." in told(response)[1]

    def test_too_many_at_once_are_refused(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(confirm, "BULK_LIMIT", 1)
        runs = [make_dead_letter("a"), make_dead_letter("b")]
        response = admin_client.post(reverse(LIST), select("retry", *runs))
        assert "at most 1" in told(response)[0]

    def test_acting_on_several_needs_the_permission(self, client: Client) -> None:
        client.force_login(make_operator("view_sagarun", "cancel_sagarun"))
        client.post(reverse(LIST), confirmed("retry", make_dead_letter()))
        assert SagaRun.objects.get().state == SagaState.DEAD_LETTER


def test_the_admin_calls_the_same_verbs_as_code(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    retry = VERBS["retry"]
    assert retry.operation is operations.retry_saga
    monkeypatch.setitem(vars(retry), "operation", lambda run, **facts: calls.append(facts))
    run = make_dead_letter()
    admin_client.post(url("retry", run), {"reason": "ticket 17", **seen(run)})
    assert calls == [{"reason": "ticket 17", "actor": "admin"}]


def select(verb: str, *runs: SagaRun) -> dict[str, Any]:
    """What the list posts."""
    ids = [str(run.pk) for run in runs]
    return {"action": f"{verb}_selected", "_selected_action": ids, "index": "0"}


def confirmed(verb: str, *runs: SagaRun) -> dict[str, Any]:
    """What the confirmation page posts."""
    data = {**select(verb, *runs), "confirmed": "yes", "reason": "ticket 17", **seen(*runs)}
    del data["index"]
    return data
