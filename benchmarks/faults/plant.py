"""The system under test: a private PostgreSQL, a private Redis, workers, and the outside service."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.faults.ledger.running import RunningLedger, start_ledger
from benchmarks.plant.servers.postgres import start_postgres
from benchmarks.plant.servers.process import ServerProcess, free_port
from benchmarks.plant.servers.redis import start_redis
from benchmarks.plant.worker_process import WorkerProcess


@dataclass(kw_only=True)
class Slot:
    """One worker's place: whoever is killed there is replaced, under the same name."""

    make: Callable[[], WorkerProcess]
    worker: WorkerProcess
    stopped: bool = False

    def replace(self) -> None:
        """Kill what is left of the worker and start another one, without waiting for it."""
        self.worker.kill()
        self.worker = self.make().start(wait=False)

    def kill(self) -> None:
        """Kill whatever worker is here now."""
        self.worker.kill()

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.worker.name

    def pids(self) -> list[int]:
        """The main process and its children."""
        return [self.worker.pid, *self.worker.child_pids()]


@dataclass(kw_only=True)
class Plant:
    """All parts, and how to look at the rows from outside."""

    folder: Path
    postgres: ServerProcess
    redis: ServerProcess
    ledger: RunningLedger
    slots: list[Slot] = field(default_factory=list)
    _connection: "psycopg.Connection[Any] | None" = None

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the database over a connection that belongs to the observer."""
        for _ in range(3):
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self.postgres.url, autocommit=True)
            try:
                cursor = self._connection.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self._connection.close()
        raise RuntimeError("The private PostgreSQL does not answer.")

    def start_workers(self, number: int, children: int) -> None:
        """Start all, then wait for all."""
        for index in range(number):
            make = self._maker(f"worker{index + 1}", children)
            self.slots.append(Slot(make=make, worker=make().start(wait=False)))
        for slot in self.slots:
            slot.worker.wait_until_ready(60)

    def _maker(self, name: str, children: int) -> Callable[[], WorkerProcess]:
        return lambda: WorkerProcess(
            database_url=self.postgres.url,
            broker_url=f"{self.redis.url}/0",
            folder=self.folder / "logs",
            concurrency=children,
            name=name,
            environment={
                **self.ledger.environment,
                "DJANGO_SETTINGS_MODULE": "benchmarks.faults.settings",
                "SAGAS_LOG_LEVEL": "WARNING",
                "PYTHONWARNINGS": "ignore",
            },
        )

    def busy_child(self, dice: random.Random) -> tuple[Slot, int] | None:
        """Choose a child that is running a step now, or any child, of a worker that is not stopped."""
        children = {
            pid: slot for slot in self.slots if not slot.stopped for pid in slot.worker.child_pids()
        }
        rows = self.query("SELECT worker FROM sagas_steprun WHERE state = 'running'")
        busy = [pid for (worker,) in rows if (pid := _pid(worker)) in children]
        if not children:
            return None
        pid = dice.choice(busy or list(children))
        return children[pid], pid


def _pid(worker: str) -> int:
    number = worker.rpartition("/")[2]
    return int(number) if number.isdigit() else 0


@contextmanager
def running_plant(*, keep: Callable[[], bool] = lambda: False) -> Iterator[Plant]:
    """Start everything but the workers; point this process's Django at it; end it all."""
    folder = Path(tempfile.mkdtemp(prefix="sagas-faults-"))
    started: list[ServerProcess] = []
    plant: Plant | None = None
    try:
        started.append(postgres := start_postgres(free_port()))
        started.append(redis := start_redis())
        ledger = start_ledger(folder / "ledger")
        started.append(ledger.server)
        _configure(postgres.url, f"{redis.url}/0", folder)
        plant = Plant(folder=folder, postgres=postgres, redis=redis, ledger=ledger)
        yield plant
    finally:
        for slot in [] if plant is None else plant.slots:
            slot.worker.kill()
        for server in started:
            with suppress(OSError):
                server.remove()
        if keep():
            print(f"Logs and books are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _configure(database_url: str, broker_url: str, folder: Path) -> None:
    os.environ |= {
        "DATABASE_URL": database_url,
        "SAGAS_BROKER_URL": broker_url,
        "SAGAS_DATA_DIR": str(folder),
        "SAGAS_LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "benchmarks.faults.settings",
    }
    import django  # noqa: PLC0415 the settings are read when Django is set up, not before
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)
