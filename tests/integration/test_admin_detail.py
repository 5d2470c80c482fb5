"""The page of one saga."""

import json

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from sagas.admin import detail
from sagas.models import SagaEvent, SagaRun
from sagas.states import Direction, EventType, SagaState, StepState
from tests.factories import make_dead_letter, make_operator, make_run, make_running, make_step


pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert('x')</script>"


def page(client: Client, run: SagaRun, **query: str) -> str:
    response = client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]), query)
    assert response.status_code == 200
    return response.content.decode()


class TestHeader:
    def test_the_header_says_why_the_run_is_where_it_is(self, admin_client: Client) -> None:
        run = make_dead_letter()
        html = page(admin_client, run)
        assert escape(run.explain()) in html
        assert "Dead letter</span>" in html

    def test_the_problem_names_code_step_and_both_errors(self, admin_client: Client) -> None:
        run = make_dead_letter(compensation_error="the refund was refused")
        html = page(admin_client, run)
        problem = html[html.index('id="problem"') :]
        problem = problem[: problem.index("</section>")]
        for text in ("CARRIER_DOWN", "create_shipment", run.error, "the refund was refused"):
            assert text in problem

    def test_a_healthy_run_has_no_problem(self, admin_client: Client) -> None:
        assert 'id="problem"' not in page(admin_client, make_running())


class TestButtons:
    def test_a_dead_letter_can_be_retried_or_resolved(self, admin_client: Client) -> None:
        assert buttons(admin_client, make_dead_letter()) == ["retry", "resolve"]

    def test_a_running_saga_can_be_paused_cancelled_or_compensated(
        self, admin_client: Client
    ) -> None:
        assert buttons(admin_client, make_running()) == ["pause", "cancel", "compensate"]

    def test_a_paused_saga_can_be_resumed(self, admin_client: Client) -> None:
        run = make_running(paused_at=timezone.now())
        assert buttons(admin_client, run) == ["resume", "cancel", "compensate"]

    def test_a_completed_saga_can_be_reverted(self, admin_client: Client) -> None:
        assert buttons(admin_client, make_run(SagaState.COMPLETED)) == ["revert"]

    def test_nothing_can_be_done_to_a_saga_that_is_over(self, admin_client: Client) -> None:
        assert buttons(admin_client, make_run(SagaState.COMPENSATED)) == []

    def test_only_what_the_user_may_do_is_offered(self, client: Client) -> None:
        client.force_login(make_operator("view_sagarun", "resolve_sagarun"))
        assert buttons(client, make_dead_letter()) == ["resolve"]


def buttons(client: Client, run: SagaRun) -> list[str]:
    response = client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
    verbs = [verb.name for verb in response.context["verbs"]]
    html = response.content.decode()
    for verb in ("retry", "cancel", "compensate", "resolve", "revert", "pause", "resume"):
        url = reverse(f"admin:sagas_sagarun_{verb}", args=[run.pk])
        assert (f'href="{url}"' in html) is (verb in verbs)
    return verbs


class TestSteps:
    def test_steps_come_in_their_order_forward_and_backward_apart(
        self, admin_client: Client
    ) -> None:
        run = make_run(SagaState.COMPENSATING)
        for name in ("one", "two"):
            make_step(run, name)
        for name in ("two", "one"):
            make_step(run, name, StepState.PENDING, Direction.BACKWARD)
        response = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        assert [line.step.name for line in response.context["forward"]] == ["one", "two"]
        assert [line.step.name for line in response.context["backward"]] == ["two", "one"]

    def test_the_queue_is_the_one_of_its_options_or_the_default(self, admin_client: Client) -> None:
        run = make_run()
        make_step(run, "one", options={"queue": "payments"})
        make_step(run, "two")
        make_step(run, "two", direction=Direction.BACKWARD)
        response = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        lines = [*response.context["forward"], *response.context["backward"]]
        assert [line.queue for line in lines] == ["payments", "saga.steps", "saga.compensate"]

    def test_the_ids_that_support_quotes_are_there(self, admin_client: Client) -> None:
        html = page(admin_client, make_dead_letter())
        assert "shop.FulfilOrder:order-1:process_payment" in html
        assert "worker1@shop" in html
        assert escape(json.dumps({"charge": "ch_1"}, indent=2)) in html

    def test_a_task_links_to_its_result(self, admin_client: Client) -> None:
        assert "/taskresult/?task_id=a-task-id" in page(admin_client, make_dead_letter())

    def test_a_task_has_no_link_for_who_may_not_see_task_results(self, client: Client) -> None:
        client.force_login(make_operator("view_sagarun"))
        html = page(client, make_dead_letter())
        assert "a-task-id" in html
        assert "taskresult" not in html

    def test_a_long_payload_is_cut(self, admin_client: Client) -> None:
        run = make_run()
        make_step(run, "one", output="x" * 2 * detail.PAYLOAD_SHOWN)
        assert len(page(admin_client, run)) < 2 * detail.PAYLOAD_SHOWN


class TestEvents:
    def test_events_are_told_in_order_with_actor_and_note(self, admin_client: Client) -> None:
        run = make_dead_letter()
        SagaEvent.objects.create(
            run=run, type=EventType.RETRIED, actor="ada", note="carrier is back"
        )
        html = page(admin_client, run)
        told = [html.index(text) for text in ("Dead lettered", "Retried", "carrier is back")]
        assert told == sorted(told)

    def test_of_many_events_the_latest_are_shown(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(detail, "EVENTS_SHOWN", 2)
        run = make_run()
        for number in range(4):
            SagaEvent.objects.create(run=run, type=EventType.TAGGED, note=f"note {number}")
        html = page(admin_client, run)
        assert "note 1" not in html
        assert html.index("note 2") < html.index("note 3")
        assert "note 0" in page(admin_client, run, **{"all-events": ""})


class TestSafety:
    def test_what_came_from_outside_is_escaped(self, admin_client: Client) -> None:
        run = make_dead_letter(
            key=HOSTILE,
            tags={HOSTILE: HOSTILE},
            input={HOSTILE: HOSTILE},
            error=HOSTILE,
            error_code=HOSTILE,
            compensation_error=HOSTILE,
            failed_step=HOSTILE,
        )
        make_step(run, HOSTILE, StepState.FAILED, error=HOSTILE, worker=HOSTILE, task_id=HOSTILE)
        make_step(run, "mean", output=HOSTILE, options={"queue": HOSTILE})
        SagaEvent.objects.create(run=run, type=EventType.RETRIED, actor=HOSTILE, note=HOSTILE)
        assert HOSTILE not in page(admin_client, run)

    def test_an_unknown_id_is_no_error(self, admin_client: Client) -> None:
        url = reverse("admin:sagas_sagarun_change", args=["no-id"])
        assert admin_client.get(url).status_code == 302

    def test_the_queries_of_a_page_are_bounded(
        self, admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        run = make_running()
        for number in range(30):
            step = make_step(run, f"step_{number}")
            SagaEvent.objects.create(run=run, step=step, type=EventType.STEP_SUCCEEDED)
        with django_assert_max_num_queries(12):
            page(admin_client, run)


class TestDeletion:
    def test_a_saga_that_is_over_can_be_deleted(self, admin_client: Client) -> None:
        run = make_run(SagaState.COMPLETED)
        make_step(run, "one")
        url = reverse("admin:sagas_sagarun_delete", args=[run.pk])
        assert admin_client.get(url).status_code == 200
        admin_client.post(url, {"post": "yes"})
        assert not SagaRun.objects.exists()

    @pytest.mark.parametrize("state", [SagaState.RUNNING, SagaState.DEAD_LETTER])
    def test_a_saga_that_is_not_over_cannot_be_deleted(
        self, admin_client: Client, state: SagaState
    ) -> None:
        run = make_run(state)
        url = reverse("admin:sagas_sagarun_delete", args=[run.pk])
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
        assert SagaRun.objects.exists()

    def test_of_many_deleted_at_once_only_what_is_over_goes(self, admin_client: Client) -> None:
        runs = [make_run(SagaState.COMPLETED, "over"), make_run(SagaState.RUNNING, "active")]
        data = {
            "action": "delete_selected",
            "_selected_action": [str(run.pk) for run in runs],
            "post": "yes",
        }
        admin_client.post(reverse("admin:sagas_sagarun_changelist"), data)
        assert SagaRun.objects.count() == 2

    def test_who_may_only_view_cannot_delete(self, client: Client) -> None:
        client.force_login(make_operator("view_sagarun"))
        url = reverse("admin:sagas_sagarun_delete", args=[make_run(SagaState.COMPLETED).pk])
        assert client.post(url, {"post": "yes"}).status_code == 403
