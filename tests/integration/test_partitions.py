"""The statements of docs/scaling.md, on the tables that the engine uses (R122)."""

import re
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection

from sagas import start_saga
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import SagaState
from tests.chains import Fails, chain
from tests.driving import drive
from tests.factories import make_run, make_step


# The statements roll back with everything else.
pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def run_block(number: int) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    # Rows that were written in this transaction have constraints that are checked at its end.
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(blocks[number].replace("%", "%%"))


def drop_constraints_of_the_tests() -> None:
    """Do as the page says to a project whose tables refer to steps or events."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f'"
            " AND confrelid IN ('sagas_steprun'::regclass, 'sagas_sagaevent'::regclass)"
        )
        for table, name in cursor.fetchall():
            assert table.startswith("references_")
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


class TestPartitionedTables:
    @pytest.fixture
    def run_before(self) -> SagaRun:
        old = make_run(SagaState.COMPLETED, "old", id=UUID("01900000-0000-7000-8000-000000000000"))
        SagaEvent.objects.create(run=old, step=make_step(old, "only"), type="step_succeeded")
        with chain(3) as saga:
            run = start_saga(saga, Fails(), key="before")
            drive(run)
        drop_constraints_of_the_tests()
        run_block(0)
        return run

    def test_rows_and_their_ids_survive(self, run_before: SagaRun) -> None:
        assert StepRun.objects.filter(run=run_before).count() == 3
        last = SagaEvent.objects.filter(run=run_before).order_by("-id").first()
        assert last is not None
        assert SagaEvent.objects.create(run=run_before, type="started").pk > last.pk

    @pytest.mark.parametrize(
        ("fails_at", "end"), [(-1, SagaState.COMPLETED), (2, SagaState.COMPENSATED)]
    )
    def test_a_saga_runs_to_its_end(
        self, run_before: SagaRun, fails_at: int, end: SagaState
    ) -> None:
        with chain(3) as saga:
            run = start_saga(saga, Fails(fails_at), key="after")
            drive(run)
        run.refresh_from_db()
        assert run.state == end
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM sagas_steprun_new WHERE run_id = %s", [run.pk])
            assert cursor.fetchone()[0] == run.steps.count()

    def test_an_old_partition_is_dropped_and_the_rest_stays(self, run_before: SagaRun) -> None:
        run_block(1)
        assert [run.key for run in SagaRun.objects.all()] == ["before"]
        assert StepRun.objects.count() == run_before.steps.count() == 3
        assert SagaEvent.objects.count() == run_before.events.count() > 3
