"""Purging what a project's own tables refer to: their ``on_delete`` is kept (R122)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericRelation
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from examples.shop.models import Order
from sagas import retention
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import EventType, SagaState
from tests.factories import make_run, make_step
from tests.references import models as tables
from tests.shards import routed_to


pytestmark = pytest.mark.django_db(transaction=True)

# The settings that types are checked with have no tables of tests.
Comment: Any = tables.Comment
Line: Any = tables.Line
Mark: Any = tables.Mark
Marked: Any = tables.Marked
Note: Any = tables.Note


def old_run(key: str) -> SagaRun:
    """A run with a step and an event, which ended long ago."""
    run = make_run(SagaState.COMPLETED, key, completed_at=timezone.now() - timedelta(days=100))
    SagaEvent.objects.create(run=run, step=make_step(run, "one"), type=EventType.STEP_SUCCEEDED)
    return run


def purge() -> str:
    out = StringIO()
    call_command("saga", "purge", "--older-than", "90d", stdout=out)
    return out.getvalue()


def keys() -> set[str]:
    return set(SagaRun.objects.values_list("key", flat=True))


def month_ago() -> datetime:
    return timezone.now() - timedelta(days=30)


GOES: dict[str, Callable[[SagaRun], dict[str, Any]]] = {
    "cascades": lambda run: {"cascades": run},
    "nulls": lambda run: {"nulls": run},
    "defaults": lambda run: {"defaults": run},
    "calls": lambda run: {"calls": run},
    "nulls_freely": lambda run: {"nulls_freely": run},
    "step_cascades": lambda run: {"step_cascades": run.steps.get()},
    "step_nulls": lambda run: {"step_nulls": run.steps.get()},
    "event_nulls": lambda run: {"event_nulls": run.events.get()},
    "event_cascades": lambda run: {"event_cascades": run.events.get()},
}


class TestOnDelete:
    @pytest.mark.parametrize("column", GOES)
    def test_the_run_goes_and_the_row_with_it_or_without_it(self, column: str) -> None:
        run, other = old_run("k"), make_run(SagaState.COMPLETED, "young")
        make_step(other, "one")
        note = Note.objects.create(**GOES[column](run))
        bystander = Note.objects.create(cascades=other, nulls=other)
        assert purge() == "Purged 1. Left 1: completed 1.\n"
        if "cascades" in column:
            assert not Note.objects.filter(pk=note.pk).exists()
        else:
            note.refresh_from_db()
            assert getattr(note, f"{column}_id") is None
        bystander.refresh_from_db()
        assert bystander.nulls_id == bystander.cascades_id == other.pk
        assert (StepRun.objects.count(), SagaEvent.objects.count()) == (1, 0)

    def test_a_row_that_is_to_be_left_alone_is(self) -> None:
        run = old_run("k")
        note = Note.objects.create(ignores_freely=run)
        assert purge() == "Purged 1. Left 0.\n"
        note.refresh_from_db()
        assert note.ignores_freely_id == run.pk

    def test_the_rows_of_many_to_many_tables_go_and_both_ends_of_others_stay(self) -> None:
        run, other = old_run("k"), make_run(SagaState.COMPLETED, "young")
        note, marked = Note.objects.create(), Marked.objects.create()
        note.runs.add(run, other)
        note.steps.add(run.steps.get())
        marked.runs.add(run, other)
        assert purge() == "Purged 1. Left 1: completed 1.\n"
        assert (list(note.runs.all()), note.steps.count()) == ([other], 0)
        assert list(marked.runs.all()) == [other]
        assert Mark.objects.count() == 1

    def test_a_row_that_goes_takes_along_what_refers_to_it(self) -> None:
        note = Note.objects.create(cascades=old_run("k"))
        Line.objects.create(goes_with=note)
        assert purge() == "Purged 1. Left 0.\n"
        assert not Line.objects.exists()

    @pytest.mark.parametrize("model", [SagaRun, StepRun])
    def test_what_a_generic_relation_leads_to_goes_too(self, model: Any) -> None:
        relation: Any = GenericRelation(tables.Comment)
        relation.contribute_to_class(model, "comments")
        try:
            of: Any = (lambda run: run) if model is SagaRun else (lambda run: run.steps.get())
            young = make_run(SagaState.COMPLETED, "young")
            make_step(young, "one")
            gone, stays = (Comment.objects.create(about=of(run)) for run in (old_run("k"), young))
            assert purge() == "Purged 1. Left 1: completed 1.\n"
            assert [comment.pk for comment in Comment.objects.all()] == [stays.pk] != [gone.pk]
        finally:
            model._meta.private_fields.remove(relation)
            del model.comments


KEEPS: dict[str, Callable[[SagaRun], object]] = {
    "PROTECT": lambda run: Note.objects.create(protects=run),
    "RESTRICT": lambda run: Note.objects.create(restricts=run),
    "PROTECT of a step": lambda run: Note.objects.create(step_protects=run.steps.get()),
    "PROTECT further away": lambda run: Line.objects.create(
        holds=Note.objects.create(cascades=run)
    ),
    "DO_NOTHING under a constraint": lambda run: Note.objects.create(ignores=run),
}


class TestKeptRuns:
    @pytest.mark.parametrize("how", KEEPS)
    def test_what_may_not_go_is_left_whole_and_counted_and_the_others_go(self, how: str) -> None:
        runs = [old_run(f"k{number}") for number in range(7)]
        for run in (runs[2], runs[5]):
            KEEPS[how](run)
        Note.objects.create(cascades=runs[0])
        assert purge() == (
            "Purged 5. Left 2: completed 2.\n"
            "Of those, 2 are kept: rows refer to them whose on_delete forbids it.\n"
        )
        assert keys() == {"k2", "k5"}
        for run in SagaRun.objects.all():
            assert (run.steps.count(), run.events.count()) == (1, 1)
        assert not Note.objects.filter(cascades=runs[0].pk).exists()

    def test_of_a_kept_run_nothing_else_is_touched(self) -> None:
        run = old_run("k")
        notes = [Note.objects.create(**{name: run}) for name in ("protects", "nulls", "cascades")]
        assert "1 are kept" in purge()
        for note in notes:
            note.refresh_from_db()
        assert notes[1].nulls_id == notes[2].cascades_id == run.pk

    def test_restrict_allows_what_goes_by_another_way(self) -> None:
        run = old_run("k")
        Note.objects.create(restricts=run, cascades=run)
        assert purge() == "Purged 1. Left 0.\n"
        assert not Note.objects.exists()

    def test_the_generator_yields_what_went_and_returns_how_many_stayed(self) -> None:
        for number in range(5):
            Note.objects.create(protects=old_run(f"k{number}") if number % 2 else None)
            old_run(f"free{number}")
        batches = retention.purge(month_ago(), batch_size=3)
        deleted = []
        while True:
            try:
                deleted.append(next(batches))
            except StopIteration as end:
                kept = end.value
                break
        assert (sum(deleted), kept) == (5, 2)


class TestCost:
    def test_the_statements_of_a_batch_do_not_grow_with_it(self) -> None:
        def statements(number: int) -> int:
            for place in range(number):
                run = old_run(f"{number}-{place}")
                Order.objects.create(
                    sku="s", quantity=1, amount=1, country="DE", ordered_at=month_ago(), run=run
                )
            with CaptureQueriesContext(connection) as queries:
                assert list(retention.purge(month_ago())) == [number]
            return len(queries)

        assert statements(2) == statements(60)

    def test_of_many_protected_runs_each_is_not_asked_about_by_itself(self) -> None:
        for place in range(60):
            Note.objects.create(protects=old_run(str(place)))
        with CaptureQueriesContext(connection) as queries:
            assert "60 are kept" in purge()
        assert len(queries) < 60


class TestReferencesInAnotherDatabase:
    @pytest.mark.django_db(transaction=True, databases=["default", "shard"])
    def test_a_row_in_another_database_is_let_go_there(self) -> None:
        with routed_to("shard"):
            run = old_run("k")
            note = Note.objects.using("default").create(nulls_freely_id=run.pk)
            assert purge() == "Purged 1. Left 0.\n"
            assert not SagaRun.objects.exists()
        note.refresh_from_db(using="default")
        assert note.nulls_freely_id is None


class TestShop:
    def test_an_order_outlives_its_saga(self) -> None:
        order = Order.objects.create(
            customer_id="c", sku="s", quantity=1, amount=1, country="DE",
            ordered_at=month_ago(), run=old_run("k"),
        )  # fmt: skip
        assert purge() == "Purged 1. Left 0.\n"
        order.refresh_from_db()
        assert order.run is None


class TestAdmin:
    @pytest.mark.parametrize("column", ["cascades", "nulls", "defaults", "calls"])
    def test_the_admin_deletes_as_on_delete_says(self, admin_client: Client, column: str) -> None:
        run = old_run("k")
        note = Note.objects.create(**{column: run})
        admin_client.post(f"/admin/sagas/sagarun/{run.pk}/delete/", {"post": "yes"})
        assert not SagaRun.objects.exists()
        left = Note.objects.filter(pk=note.pk)
        assert left.exists() == (column != "cascades")

    @pytest.mark.parametrize("column", ["protects", "restricts", "ignores"])
    @pytest.mark.parametrize("way", ["one", "selected"])
    def test_a_run_that_may_not_go_stays_and_the_page_says_why(
        self, admin_client: Client, column: str, way: str
    ) -> None:
        run = old_run("k")
        note = Note.objects.create(**{column: run})
        if way == "one":
            address, data = f"/admin/sagas/sagarun/{run.pk}/delete/", {"post": "yes"}
        else:
            address = "/admin/sagas/sagarun/"
            data = {"action": "delete_selected", "_selected_action": str(run.pk), "post": "yes"}
        page = admin_client.post(address, data, follow=True)
        assert page.status_code == 200
        said = "rows of other tables refer to it" if column == "ignores" else f"note {note.pk}"
        assert said in page.content.decode()
        assert (SagaRun.objects.get().steps.count(), SagaEvent.objects.count()) == (1, 1)
