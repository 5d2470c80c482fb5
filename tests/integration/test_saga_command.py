"""``manage.py saga``: what it prints, what it does, and how it exits."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils import timezone

from sagas.engine.recover import SweepReport
from sagas.management.subcommands import watching
from sagas.states import SagaState, StepState
from tests.conftest import WorkerFactory
from tests.factories import make_dead_letter, make_run, make_running, make_step, record_sweep


pytestmark = pytest.mark.django_db


def saga(*arguments: str) -> str:
    out = StringIO()
    call_command("saga", *arguments, stdout=out)
    return out.getvalue()


def masked(text: str) -> str:
    """Ids and moments differ each time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID".ljust(36), text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT".ljust(19), text)


def lines(text: str) -> list[list[str]]:
    """Cells of a table."""
    return [re.split(r"\s{2,}", line) for line in map(str.rstrip, text.splitlines())]


class TestList:
    def test_the_list_is_a_table_newest_first(self) -> None:
        make_dead_letter("order-1")
        make_run(SagaState.COMPLETED, "order-2", label="shop.Refund")
        assert lines(masked(saga("list"))) == [
            ["ID", "STATE", "LABEL", "KEY", "STARTED", "ERROR"],
            ["ID", "completed", "shop.Refund", "order-2", "MOMENT"],
            [
                "ID",
                "dead_letter",
                "shop.FulfilOrder",
                "order-1",
                "MOMENT",
                "the carrier does not answer",
            ],
        ]

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--state", "completed"), ("--label", "shop.Refund"), ("--search", "ref")],
    )
    def test_an_option_narrows_the_list(self, option: str, value: str) -> None:
        make_running("order-1")
        make_run(SagaState.COMPLETED, "refund-1", label="shop.Refund")
        found = json.loads(saga("list", option, value, "--json"))
        assert [run["key"] for run in found] == ["refund-1"]

    def test_the_list_stops_at_the_limit(self) -> None:
        for number in range(3):
            make_run(key=str(number))
        assert len(json.loads(saga("list", "--limit", "2", "--json"))) == 2

    def test_a_hostile_key_cannot_steer_the_terminal(self) -> None:
        make_run(key="\x1b[2Jfoo\nbar")
        assert r"\x1b[2Jfoo\nbar" in saga("list")


class TestShow:
    def test_show_tells_the_run_its_steps_and_its_events(self) -> None:
        run = make_dead_letter(tags={"customer": "c-1"})
        text = masked(saga("show", "order-1"))
        head, steps, events = text.split("\n\n")
        assert run.explain() in head
        assert "tags         customer=c-1" in head
        assert lines(steps)[1:] == [
            ["STEP", "STATE", "ATTEMPTS", "STARTED", "ENDED", "OWNER", "ERROR"],
            ["reserve_inventory", "succeeded", "1", "MOMENT", "MOMENT"],
            ["process_payment", "succeeded", "1", "MOMENT", "MOMENT"],
            [
                "create_shipment",
                "failed",
                "1",
                "MOMENT",
                "MOMENT",
                "the carrier does not answer",
            ],
        ]
        assert lines(events)[2][:2] == ["MOMENT", "dead_lettered"]

    def test_show_as_json_has_everything(self) -> None:
        run = make_dead_letter()
        data = json.loads(saga("show", str(run.pk), "--json"))
        assert data["id"] == str(run.pk)
        assert data["input"] == {"order_id": "order-1"}
        assert data["steps"][0]["output"] == {"reservation": 7}
        assert data["events"][0]["type"] == "dead_lettered"

    def test_an_unknown_run_is_an_error(self) -> None:
        with pytest.raises(CommandError, match="No saga has the id or key 'order-9'"):
            saga("show", "order-9")

    def test_a_key_of_two_sagas_asks_for_the_id(self) -> None:
        runs = [make_run(label="shop.A"), make_run(label="shop.B")]
        with pytest.raises(CommandError, match="name one by its id") as caught:
            saga("show", "order-1")
        assert all(str(run.pk) in str(caught.value) for run in runs)


class TestStats:
    def test_every_state_has_a_line(self) -> None:
        make_dead_letter()
        assert saga("stats") == (
            "STATE         SAGAS\n"
            "running       0\n"
            "compensating  0\n"
            "completed     0\n"
            "compensated   0\n"
            "cancelled     0\n"
            "dead_letter   1\n"
            "resolved      0\n"
            "total         1\n"
        )

    def test_stats_as_json(self) -> None:
        make_running()
        counts = json.loads(saga("stats", "--json"))
        assert (counts["running"], counts["total"]) == (1, 1)


class TestSweep:
    def test_one_sweep_tells_what_it_did(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watching, "sweep", lambda **_: SweepReport(sent=2))
        assert saga("sweep") == "Swept: sent 2.\n"

    def test_one_sweep_of_empty_tables_finds_nothing(self) -> None:
        assert saga("sweep") == "Swept: nothing to do.\n"

    def test_a_loop_of_sweeps_stops_when_it_is_told_to(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def wait_for_signal(interval: float, stop: threading.Event, **_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wait(60)

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        monkeypatch.setattr(watching, "sweep_forever", wait_for_signal)
        try:
            assert (
                saga("sweep", "--loop", "--interval", "0.5") == "Sweeping every 0.5 s.\nStopped.\n"
            )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class TestDoctor:
    def test_a_healthy_system_is_reported(self) -> None:
        record_sweep()
        make_running()
        report = dict(line[:2] for line in lines(saga("doctor")))
        assert report["database"] == "reachable"
        assert report["last sweep"].endswith("s ago")
        assert report["running"] == "1"

    def test_active_sagas_that_nothing_sweeps_are_a_problem(self) -> None:
        make_running()
        record_sweep(timedelta(minutes=2))
        with pytest.raises(CommandError, match="no sweep is running"):
            saga("doctor")

    def test_without_active_sagas_no_sweep_is_needed(self) -> None:
        assert json.loads(saga("doctor", "--json"))["problems"] == []

    def test_a_due_step_that_no_worker_takes_is_a_problem(self) -> None:
        record_sweep()
        due = timezone.now() - timedelta(minutes=6)
        make_step(make_run(), "one", StepState.READY, due_at=due)
        with pytest.raises(CommandError, match="no worker is consuming them"):
            saga("doctor")
        assert "oldest due step  6 min" in saga("doctor", "--max-wait", "10m")

    def test_the_doctor_says_when_no_worker_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record_sweep()
        make_step(make_run(), "one", StepState.READY, due_at=timezone.now())
        monkeypatch.setattr("sagas.engine.consumers._consumed", lambda _: None)
        assert "saga.steps 1 (nobody answered who consumes them)" in saga("doctor")

    def test_a_queue_that_no_worker_consumes_is_a_problem(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record_sweep()
        make_step(make_run(), "one", StepState.READY, due_at=timezone.now())
        monkeypatch.setattr("sagas.engine.consumers._consumed", lambda _: frozenset({"celery"}))
        with pytest.raises(CommandError, match=r"no worker consumes saga\.steps"):
            saga("doctor")

    @pytest.mark.acceptance
    @pytest.mark.redis
    def test_real_workers_are_asked_what_they_consume(
        self, redis_broker: str, worker_factory: WorkerFactory
    ) -> None:
        record_sweep()
        worker_factory(
            redis_broker, queues=["saga.coordinator"], settings={"SWEEP_IN_WORKERS": False}
        )
        make_step(make_run(), "one", StepState.READY, due_at=timezone.now())
        with pytest.raises(CommandError, match=r"no worker consumes saga\.steps, on which 1 steps"):
            saga("doctor")

    def test_a_step_that_is_due_later_waits_for_nobody(self) -> None:
        record_sweep()
        make_step(make_run(), "one", StepState.READY, due_at=timezone.now() + timedelta(hours=1))
        assert json.loads(saga("doctor", "--json"))["oldest_due_step_seconds"] is None

    def test_a_database_that_is_away_is_a_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise DatabaseError("connection refused")

        monkeypatch.setattr(watching, "sweep_status", fail)
        with pytest.raises(CommandError, match="the database cannot be read: connection refused"):
            saga("doctor")

    def test_a_max_wait_that_is_no_duration_is_refused(self) -> None:
        with pytest.raises(CommandError, match="'soon' is not a duration"):
            saga("doctor", "--max-wait", "soon")


@pytest.mark.acceptance
class TestCommandAsAProcess:
    """The command as a process: its exit code is what scripts and probes read."""

    def test_exit_codes(self, acceptance_database: str) -> None:
        make_running()
        expected = {
            "list": 0,
            "show no-such": 1,
            "retry order-1 --reason hope": 1,
            "doctor": 1,
            "no-such-subcommand": 2,
        }
        assert exit_codes(acceptance_database, *expected) == [*expected.values()]

    def test_a_loop_ends_well_on_a_signal(self, acceptance_database: str) -> None:
        process = start(acceptance_database, "manage.py", "saga", "sweep", "--loop")
        assert process.stdout is not None
        assert process.stdout.readline() == "Sweeping every 1 s.\n"
        process.terminate()
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "Stopped.\n")


def start(database: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "DATABASE_URL": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


FORKS = """
import os, runpy, sys
import django

django.setup()
codes = []
for command in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        sys.argv = ["manage.py", "saga", *command.split()]
        runpy.run_path("manage.py", run_name="__main__")
        sys.exit()
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(*codes)
"""


def exit_codes(database: str, *commands: str) -> list[int]:
    """Run each command in a process of its own; Django is loaded once, before they fork."""
    out, _ = start(database, "-c", FORKS, *commands).communicate(timeout=60)
    return [int(code) for code in out.splitlines()[-1].split()]
