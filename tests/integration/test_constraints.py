"""What the tables themselves refuse, and what it costs to ask them on every write."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from sagas.models import SagaRun, StepRun
from tests.factories import make_run, make_step


pytestmark = pytest.mark.django_db

STORED = """
    SELECT sum(length(conbin::text)) FROM pg_constraint
    WHERE contype = 'c' AND conrelid = %s::regclass
"""


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "gone"},
        {"state": ""},
        {"outcome_when_undone": "completed"},
        {"state": "completed", "completed_at": None},
        {"state": "resolved", "completed_at": None},
        {"state": "running", "completed_at": Now()},
        {"state": "dead_letter", "completed_at": Now()},
    ],
)
def test_a_run_of_no_legal_state_is_refused(columns: dict[str, Any]) -> None:
    run = make_run()
    with pytest.raises(IntegrityError), transaction.atomic():
        SagaRun.objects.filter(pk=run.pk).update(**columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "gone"},
        {"direction": "sideways"},
        {"state": "running", "lease_until": None},
        {"state": "ready", "due_at": None},
        {"state": "ready", "due_at": Now(), "send_at": None},
    ],
)
def test_a_step_of_no_legal_state_is_refused(columns: dict[str, Any]) -> None:
    step = make_step(make_run(), "reserve")
    with pytest.raises(IntegrityError), transaction.atomic():
        StepRun.objects.filter(pk=step.pk).update(**columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "resolved", "completed_at": Now(), "outcome_when_undone": "cancelled"},
        {"state": "dead_letter", "completed_at": None, "outcome_when_undone": ""},
    ],
)
def test_a_run_and_a_step_of_legal_states_are_accepted(columns: dict[str, Any]) -> None:
    run = make_run()
    assert SagaRun.objects.filter(pk=run.pk).update(**columns) == 1


def test_validation_says_the_same_before_anything_is_written() -> None:
    run = make_run()
    run.state = "gone"
    with pytest.raises(ValidationError, match="sagas_run_state"):
        run.validate_constraints()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("table", "characters"), [("sagas_steprun", 3500), ("sagas_sagarun", 2700)]
)
def test_what_every_write_reads_of_its_table_is_short(table: str, characters: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(STORED, [table])
        ((stored,),) = cursor.fetchall()
    assert stored <= characters
