"""What a saga decides is decided from what is true then, at whatever level a project's connections are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from sagas import start_saga
from sagas.engine import dispatch, isolation, recover
from sagas.engine.advance import apply_outcome, record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.transitions import change
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import SagaState
from tests.driving import claimed, drive, fresh
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

REPEATABLE_READ, SERIALIZABLE = 3, 4
BY_OPTION: dict[str, dict[str, Any]] = {
    "repeatable read": {"isolation_level": REPEATABLE_READ},
    "serializable": {"isolation_level": SERIALIZABLE},
    "by the server": {"options": "-c default_transaction_isolation=serializable"},
}


@contextmanager
def connected_with(options: dict[str, Any]) -> Iterator[None]:
    """Connect all threads anew with these ``OPTIONS``."""
    before = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**before, **options}
    isolation._server_defaults.clear()
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before
        isolation._server_defaults.clear()


@pytest.fixture(params=[*BY_OPTION])
def _level(request: pytest.FixtureRequest, messages: list[str]) -> Iterator[None]:
    with connected_with(BY_OPTION[request.param]):
        yield


def in_thread(act: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.usefixtures("_level")
class TestAtAHigherLevel:
    def test_of_two_steps_that_end_at_once_in_a_saga_that_turns_back_one_sees_the_other(
        self,
    ) -> None:
        run = start_saga(Diamond, Script(), key="k")
        record_outcome(claimed(run, "start"), Succeeded(output={"of": "start"}))
        left, right = claimed(run, "left"), claimed(run, "right")
        cancel_saga(run, reason="x")
        begun, enough = threading.Event(), threading.Event()

        def slowly() -> None:
            with change(run.pk) as changing:
                apply_outcome(changing, left, Succeeded(output={"of": "left"}))
                dispatch.send_on_commit(changing.run, changing.made_ready)
                begun.set()
                enough.wait(60)

        slow = in_thread(slowly)
        assert begun.wait(60)
        quick = in_thread(lambda: record_outcome(right, Succeeded(output={"of": "right"})))
        while not waits_for_a_lock():
            pass
        enough.set()
        slow.join(60)
        quick.join(60)
        assert drive(run).state == SagaState.CANCELLED
        assert {"undo_left(left)", "undo_right(right)", "undo_start(start)"} <= {*CALLS}

    def test_a_saga_runs_to_its_end_and_back(self) -> None:
        assert drive(start_saga(Five, Script(), key="k")).state == SagaState.COMPLETED
        failing = start_saga(Five, Script({"c": "permanent"}), key="f")
        assert drive(failing).state == SagaState.COMPENSATED

    def test_a_sweep_takes_up_a_lost_attempt(self) -> None:
        run = start_saga(Five, Script(), key="k")
        StepRun.objects.filter(pk=claimed(run, "a").pk).update(lease_until=run.created_at)
        assert recover.sweep().lost == 1

    def test_a_verb_in_a_transaction_that_began_before_a_step_ended_fails_and_changes_nothing(
        self,
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        attempt = claimed(run, "a")

        def view() -> None:
            with transaction.atomic():
                assert SagaRun.objects.filter(pk=run.pk).exists()  # its snapshot is taken
                in_thread(lambda: record_outcome(attempt, Succeeded(output={"of": "a"}))).join(60)
                cancel_saga(run, reason="x")

        with pytest.raises(OperationalError, match="could not serialize"):
            view()
        assert drive(fresh(run)).state == SagaState.COMPLETED

    def test_a_verb_in_a_transaction_in_which_nothing_else_happened_works(self) -> None:
        run = start_saga(Five, Script(), key="k")
        with transaction.atomic():
            assert SagaRun.objects.filter(pk=run.pk).exists()
            cancel_saga(run, reason="x")
        assert drive(run).state == SagaState.CANCELLED


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


class Replica:
    """Django's own example of a router: reading goes elsewhere."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


class TestRouter:
    @pytest.fixture(autouse=True)
    def _reads_go_to_a_replica(
        self, settings: Any, messages: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        away = {**connections.settings["default"], "NAME": "there-is-none"}
        monkeypatch.setitem(connections.settings, "replica", away)
        settings.DATABASE_ROUTERS = [Replica()]

    def test_rows_are_read_where_they_are_written(self) -> None:
        run = start_saga(Five, Script({"c": "permanent"}), key="k")
        assert drive(run).state == SagaState.COMPENSATED
        step = run.steps.order_by("position").first()
        assert step is not None
        (event,) = step.events.all()[:1]
        assert event.run.pk == run.pk == StepRun.objects.get(pk=step.pk).run.pk
        run.refresh_from_db()
        SagaRun.objects.defer("label").get(pk=run.pk).label  # noqa: B018

    def test_a_replica_can_be_named(self) -> None:
        assert SagaRun.objects.using("replica").db == "replica"
        assert {model.objects.all().db for model in (SagaRun, StepRun, SagaEvent)} == {"default"}
