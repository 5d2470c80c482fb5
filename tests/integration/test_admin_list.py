"""The list of sagas: what it says, what it finds, and what it costs."""

import re
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from sagas.admin.listing import CappedPaginator
from sagas.models import SagaRun
from sagas.states import Direction, SagaState, StepState
from tests.factories import (
    make_dead_letter,
    make_operator,
    make_run,
    make_running,
    make_step,
    make_waiting,
    record_sweep,
)


pytestmark = pytest.mark.django_db

URL = "admin:sagas_sagarun_changelist"
HOSTILE = "<script>alert('x')</script>"


def page(client: Client, **query: str) -> str:
    response = client.get(reverse(URL), query)
    assert response.status_code == 200
    return response.content.decode()


def keys(client: Client, **query: str) -> list[str]:
    response = client.get(reverse(URL), query)
    assert response.status_code == 200
    return [run.key for run in response.context["cl"].result_list]


class TestColumns:
    def test_a_state_is_an_icon_and_a_word(self, admin_client: Client) -> None:
        make_run(SagaState.COMPENSATED)
        html = page(admin_client)
        assert 'saga-undone"><span aria-hidden="true">↺</span> Compensated</span>' in html

    def test_progress_counts_the_steps_and_names_the_open_one(self, admin_client: Client) -> None:
        make_running()
        assert "1/3 process_payment" in page(admin_client)

    def test_progress_names_the_step_that_failed(self, admin_client: Client) -> None:
        make_dead_letter()
        assert "2/3 create_shipment" in page(admin_client)

    def test_progress_names_the_compensation_that_runs(self, admin_client: Client) -> None:
        run = make_run(SagaState.COMPENSATING, failed_step="process_payment")
        make_step(run, "reserve_inventory")
        make_step(run, "process_payment", StepState.FAILED)
        make_step(run, "reserve_inventory", StepState.READY, Direction.BACKWARD)
        assert "1/2 undo of reserve_inventory" in page(admin_client)

    def test_of_a_long_error_the_first_80_characters_are_shown(self, admin_client: Client) -> None:
        make_dead_letter(error="a" * 80 + "b")
        html = page(admin_client)
        assert "a" * 80 + "…" in html
        assert "a" * 80 + "b" not in html

    def test_a_run_with_a_warning_asks_for_a_follow_up(self, admin_client: Client) -> None:
        make_run(SagaState.COMPLETED, has_warnings=True)
        assert "Follow up" in page(admin_client)

    def test_a_paused_dead_letter_is_both(self, admin_client: Client) -> None:
        make_dead_letter()
        assert "Paused" not in page(admin_client)
        SagaRun.objects.update(paused_at=Now())
        html = page(admin_client)
        assert "Paused" in html
        assert "Dead letter" in html

    def test_the_newest_comes_first(self, admin_client: Client) -> None:
        make_run(key="first")
        make_run(key="second")
        assert keys(admin_client) == ["second", "first"]

    def test_what_came_from_outside_is_escaped(self, admin_client: Client) -> None:
        make_dead_letter(key=HOSTILE, label=HOSTILE, error=HOSTILE, failed_step=HOSTILE)
        html = page(admin_client)
        assert HOSTILE not in html
        assert html.count(escape(HOSTILE)) >= 4


class TestFinding:
    @pytest.mark.parametrize(
        ("group", "expected"),
        [
            ("attention", ["warned", "dead"]),
            ("active", ["waits", "active"]),
            ("waiting", ["waits"]),
            ("finished", ["warned"]),
        ],
    )
    def test_runs_are_found_by_group(
        self, admin_client: Client, group: str, expected: list[str]
    ) -> None:
        make_run(key="active")
        make_dead_letter(key="dead")
        make_run(SagaState.COMPLETED, key="warned", has_warnings=True)
        make_waiting(key="waits")
        assert keys(admin_client, group=group) == expected

    def test_runs_are_found_by_state_label_and_warning(self, admin_client: Client) -> None:
        make_run(key="a")
        make_run(SagaState.COMPLETED, key="b", label="shop.Other", has_warnings=True)
        assert keys(admin_client, state__exact="completed") == ["b"]
        assert keys(admin_client, label="shop.Other") == ["b"]
        assert keys(admin_client, has_warnings="1") == ["b"]

    def test_runs_are_found_by_start_of_key_by_id_and_by_tag(self, admin_client: Client) -> None:
        run = make_run(key="order-17", tags={"customer": "c-1"})
        make_run(key="reorder-17")
        assert keys(admin_client, q="order-1") == ["order-17"]
        assert keys(admin_client, q=str(run.pk)) == ["order-17"]
        assert keys(admin_client, q="customer=c-1") == ["order-17"]
        assert keys(admin_client, q="customer=c-2") == []

    @pytest.mark.parametrize("text", ["\x00", "%", "'; --", "=", "a=b=c", "  "])
    def test_odd_searches_are_answered(self, admin_client: Client, text: str) -> None:
        make_run()
        page(admin_client, q=text)


class TestCost:
    def test_the_number_of_queries_does_not_grow_with_the_rows(
        self, admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(30):
            make_dead_letter(key=f"order-{number}")
        with django_assert_max_num_queries(8):
            page(admin_client, state__exact="dead_letter")

    def test_no_json_is_loaded(self, admin_client: Client) -> None:
        make_run()
        response = admin_client.get(reverse(URL))
        deferred = response.context["cl"].result_list[0].get_deferred_fields()
        assert {"input", "options", "tags"} <= deferred

    def test_counting_stops_at_a_cap(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(CappedPaginator, "count_cap", 2)
        for number in range(4):
            make_run(key=str(number))
        assert "more than 2" in page(admin_client)

    def test_nothing_is_asked_for_distinct_values(
        self, admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        make_run()
        with django_assert_max_num_queries(8) as queries:
            page(admin_client)
        assert not [query for query in queries if "DISTINCT" in query["sql"]]


class TestSweepAge:
    def test_active_runs_and_no_sweep_at_all_is_a_warning(self, admin_client: Client) -> None:
        make_run()
        assert "no sweep has ever run" in page(admin_client)

    def test_active_runs_and_an_old_sweep_is_a_warning(self, admin_client: Client) -> None:
        make_run()
        record_sweep(timedelta(minutes=3))
        assert "the last sweep ran 3 min" in page(admin_client)

    def test_a_recent_sweep_is_only_mentioned(self, admin_client: Client) -> None:
        make_run()
        record_sweep()
        html = page(admin_client)
        assert re.search(r"Last sweep \d+ ms ago", html)
        assert "worker1@shop" in html
        assert 'role="alert"' not in html

    def test_with_nothing_active_no_sweep_is_needed(self, admin_client: Client) -> None:
        make_run(SagaState.COMPLETED)
        assert 'role="alert"' not in page(admin_client)


class TestPermissions:
    def test_viewing_is_enough_to_see_and_not_to_act(self, client: Client) -> None:
        client.force_login(make_operator("view_sagarun"))
        make_dead_letter()
        assert 'value="retry_selected"' not in page(client)

    def test_without_any_permission_there_is_nothing(self, client: Client) -> None:
        client.force_login(make_operator())
        assert client.get(reverse(URL)).status_code == 403

    def test_nobody_adds_or_edits(self, admin_client: Client) -> None:
        run = make_run()
        assert admin_client.get(reverse("admin:sagas_sagarun_add")).status_code == 403
        change = reverse("admin:sagas_sagarun_change", args=[run.pk])
        assert admin_client.post(change, {"state": "completed"}).status_code == 403
        assert SagaRun.objects.get().state == SagaState.RUNNING
