"""A row may have another name than the step that it runs, and that step may be another saga's."""

import pytest

from sagas import start_saga
from sagas.engine import dispatch
from sagas.models import SagaRun, StepRun
from sagas.operations import complete_step
from sagas.states import Direction
from tests.driving import drive, fresh, run_one, states, step_of
from tests.traced import Five, Receipt, Script, calls


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_broker(messages: list[str]) -> None:
    """Messages are collected, not sent."""


def started(faults: dict[str, str]) -> SagaRun:
    """A run of ``Five`` whose second row is named otherwise, and says which saga declares it."""
    run = start_saga(Five, Script(faults), key="k")
    row = step_of(run, "b")
    compensation = {**row.options["compensation"], "declared": "b", "saga": "tests.Five"}
    options = {**row.options, "declared": "b", "saga": "tests.Five", "compensation": compensation}
    StepRun.objects.filter(pk=row.pk).update(name="b[1]", options=options)
    SagaRun.objects.filter(pk=run.pk).update(label="tests.Five")
    return run


class TestNamesOfRows:
    def test_a_row_runs_the_step_that_its_plan_names(self) -> None:
        run = started({"e": "permanent"})
        with calls() as called:
            assert drive(run).is_compensated
        assert called == [*"abcde", "undo_d(d)", "undo_c(c)", "undo_b(b)", "undo_a(a)"]
        assert states(run, Direction.BACKWARD)["b[1]"] == "succeeded"

    def test_its_messages_are_of_the_task_of_that_step(self) -> None:
        run = started({})
        row = step_of(run, "b[1]")
        assert dispatch.line_of(row) == dispatch.line_of(
            StepRun(run=run, name="b", direction="forward")
        )
        assert dispatch._message(run, row).task == "sagas.tests.Five.b"

    def test_a_human_answers_it_by_its_own_name_with_a_result_of_the_declared_type(self) -> None:
        run = started({"b": "wait"})
        run_one(run)
        run_one(run)
        complete_step(run, "b[1]", result=Receipt("phone"), reason="told")
        assert step_of(fresh(run), "b[1]").output == {"of": "phone"}
