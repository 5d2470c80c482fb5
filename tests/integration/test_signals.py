"""``saga_started`` and ``saga_finished``: each change is told once, after its commit (R56)."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext

from sagas import start_saga, start_sagas
from sagas.engine.execute import execute
from sagas.models import SagaRun
from sagas.operations import cancel_saga, compensate_saga, resolve_saga
from sagas.signals import saga_finished, saga_started
from sagas.states import SagaState
from tests.driving import drive, fresh, ready_steps, step_of
from tests.traced import Diamond, Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

Told = list[tuple[str, Any, SagaRun, SagaState]]


@pytest.fixture
def told() -> Iterator[Told]:
    """What a receiver of both signals was told, in order."""
    heard: Told = []

    def hear(sender: Any, signal: Signal, run: SagaRun, state: SagaState, **_: Any) -> None:
        assert not connection.in_atomic_block
        heard.append(("started" if signal is saga_started else "finished", sender, run, state))

    for signal in (saga_started, saga_finished):
        signal.connect(hear)
    yield heard
    for signal in (saga_started, saga_finished):
        assert signal.disconnect(hear)


def words(told: Told) -> list[tuple[str, str]]:
    return [(what, str(state)) for what, _, _, state in told]


class TestStarted:
    def test_comes_with_the_run_after_the_commit(self, told: Told) -> None:
        with transaction.atomic():
            run = start_saga(Five, Script({"a": "wait"}), key="k")
            assert told == []
        ((what, sender, given, state),) = told
        assert (what, sender, given, state) == ("started", Five, run, SagaState.RUNNING)
        assert given.input == {"faults": {"a": "wait"}}

    def test_is_not_sent_by_a_call_that_finds_the_run(self, told: Told) -> None:
        for _ in range(2):
            start_saga(Five, Script(), key="k")
        assert words(told) == [("started", "running")]

    def test_is_not_sent_when_nothing_was_committed(self, told: Told) -> None:
        with transaction.atomic():
            start_saga(Five, Script(), key="k")
            transaction.set_rollback(True)
        assert told == []

    def test_is_sent_for_each_of_many_with_one_query(self, told: Told) -> None:
        keys = [str(number) for number in range(20)]
        with CaptureQueriesContext(connection) as captured:
            runs = start_sagas(Five, [Script()] * 20, keys=keys)
        assert {run.pk for _, _, run, _ in told} == {run.pk for run in runs}
        selects = [q for q in captured if q["sql"].startswith("SELECT") and "sagarun" in q["sql"]]
        assert len(selects) <= 2


class TestFinished:
    @pytest.mark.parametrize(
        ("faults", "ends"),
        [
            ({}, SagaState.COMPLETED),
            ({"c": "permanent"}, SagaState.COMPENSATED),
            ({"a": "permanent"}, SagaState.COMPENSATED),
        ],
    )
    def test_comes_once_with_the_end(
        self, told: Told, faults: dict[str, str], ends: SagaState
    ) -> None:
        run = drive(start_saga(Five, Script(faults), key="k"))
        assert words(told) == [("started", "running"), ("finished", ends)]
        assert told[-1][2].outcome == run.outcome != ""

    def test_comes_once_though_every_message_comes_twice(self, told: Told) -> None:
        run = start_saga(Five, Script(), key="k")
        while ready := ready_steps(run):
            for _ in range(2):
                execute(ready[0].pk, ready[0].fence, in_place=True)
        assert words(told)[1:] == [("finished", "completed")]

    def test_comes_with_a_cancellation(self, told: Told) -> None:
        run = start_saga(Five, Script(), key="k")
        cancel_saga(run, reason="no longer wanted")
        assert words(told)[1:] == [("finished", "cancelled")]

    def test_comes_when_a_dead_letter_is_resolved_and_not_before(self, told: Told) -> None:
        run = drive(start_saga(Diamond, Script({"ship": "permanent"}), key="k"))
        assert run.state == SagaState.DEAD_LETTER
        assert words(told)[1:] == []
        resolve_saga(run, reason="sent by hand")
        assert words(told)[1:] == [("finished", "resolved")]

    def test_comes_again_when_a_completed_run_was_reverted(self, told: Told) -> None:
        run = drive(start_saga(Five, Script(), key="k"))
        compensate_saga(run, reason="sent back", revert_completed=True)
        drive(run)
        assert words(told)[1:] == [("finished", "completed"), ("finished", "compensated")]


class TestReceivers:
    def test_one_that_raises_or_breaks_its_statement_changes_nothing(
        self, told: Told, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(**_: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT nonsense FROM nowhere")

        for signal in (saga_started, saga_finished):
            signal.connect(broken)
        try:
            run = drive(start_saga(Five, Script(), key="k"))
        finally:
            for signal in (saga_started, saga_finished):
                signal.disconnect(broken)
        assert run.state == SagaState.COMPLETED
        assert len(told) == 2
        assert "Error calling" in caplog.text

    def test_one_hears_of_the_sagas_that_it_names(self) -> None:
        heard: list[SagaRun] = []

        def hear(run: SagaRun, **_: Any) -> None:
            heard.append(run)

        saga_finished.connect(hear, sender=Diamond)
        try:
            drive(start_saga(Five, Script(), key="k"))
            run = drive(start_saga(Diamond, Script(), key="k"))
        finally:
            saga_finished.disconnect(hear, sender=Diamond)
        assert heard == [run]

    def test_one_hears_of_a_saga_that_this_code_has_not(self, told: Told) -> None:
        run = start_saga(Five, Script(), key="k")
        SagaRun.objects.filter(pk=run.pk).update(label="gone.Saga")
        cancel_saga(fresh(run), reason="nobody can run it")
        assert words(told)[1:] == [("finished", "cancelled")]
        assert told[-1][1] is None

    def test_one_costs_a_statement_and_none_costs_nothing(self) -> None:
        untold = statements_of_an_end("untold")
        saga_finished.connect(ignore)
        try:
            assert statements_of_an_end("told") == untold + 1
        finally:
            saga_finished.disconnect(ignore)


def ignore(**_: Any) -> None:
    """Hear of it."""


def statements_of_an_end(key: str) -> int:
    """Return how many statements the step takes that completes a run."""
    run = start_saga(Five, Script(), key=key)
    for name in "abcd":
        row = step_of(run, name)
        execute(row.pk, row.fence)
    row = step_of(run, "e")
    with CaptureQueriesContext(connection) as captured:
        execute(row.pk, row.fence)
    assert fresh(run).state == SagaState.COMPLETED
    return len(captured)
