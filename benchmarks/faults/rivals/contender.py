"""One of the systems, ready to be run through a scenario."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.faults.ledger import books
from benchmarks.faults.ledger.running import RunningLedger, start_ledger
from benchmarks.faults.plant import Slot, running_plant
from benchmarks.faults.rivals.configuration import (
    BROKER_VARIABLE,
    REDELIVERY_VARIABLE,
    STATE_VARIABLE,
    TIME_LIMIT_VARIABLE,
)
from benchmarks.faults.wishes import Wish
from benchmarks.plant.environment import environment_with
from benchmarks.plant.servers.process import ServerProcess
from benchmarks.plant.servers.redis import start_redis
from benchmarks.plant.worker_process import CHECKOUT, WorkerProcess


OURS, CHAIN, CELERY_SAGA = "django-celery-sagas", "chain() + link_error", "celery-saga"
NAMES = (OURS, CHAIN, CELERY_SAGA)
WORKERS = 2


@dataclass(kw_only=True)
class Contender:
    """A system with its workers, its broker and the books of the outside service."""

    redis: ServerProcess
    ledger: RunningLedger
    slots: list[Slot]
    submit: Callable[[list[Wish]], None]
    states: Callable[[], dict[str, str]]


@dataclass(kw_only=True)
class RivalWorker(WorkerProcess):
    """A worker of another application, perhaps of another Python."""

    python: Path = field(default_factory=lambda: Path(sys.executable))
    application: str = ""

    def _command(self) -> list[str]:
        command = [str(self.python), *super()._command()[1:]]
        command[command.index("config")] = self.application
        return command

    def _environment(self) -> dict[str, str]:
        return {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **self.environment}


@contextmanager
def contender(
    name: str, *, children: int, time_limit: float | None, redelivery: int
) -> Iterator[Contender]:
    """Start a system with two workers; ``redelivery`` is the rivals' visibility time-out.

    Raises:
        Absent: its package cannot be installed.
    """
    if name == OURS:
        with _ours(children, short=time_limit is not None) as ready:
            yield ready
        return
    python = environment_with("celery-saga[redis]") if name == CELERY_SAGA else Path(sys.executable)
    limits = {
        TIME_LIMIT_VARIABLE: "" if time_limit is None else str(time_limit),
        REDELIVERY_VARIABLE: str(redelivery),
    }
    with _rival(name, python, children, limits) as ready:
        yield ready


@contextmanager
def _ours(children: int, *, short: bool) -> Iterator[Contender]:
    with running_plant() as plant:
        from benchmarks.faults.sagas import FiveShortSteps, FiveSteps  # noqa: PLC0415 after setup
        from sagas import start_saga  # noqa: PLC0415

        saga = FiveShortSteps if short else FiveSteps

        def submit(wishes: list[Wish]) -> None:
            for wish in wishes:
                start_saga(saga, wish)

        def states() -> dict[str, str]:
            rows = plant.query("SELECT key, state FROM sagas_sagarun")
            return {key: state for key, state in rows if state not in {"running", "compensating"}}

        plant.start_workers(WORKERS, children)
        yield Contender(
            redis=plant.redis,
            ledger=plant.ledger,
            slots=plant.slots,
            submit=submit,
            states=states,
        )


@dataclass(frozen=True, kw_only=True)
class _Rival:
    """An application that runs in processes of its own, perhaps with another Python."""

    name: str
    python: Path
    application: str
    folder: Path
    ledger: RunningLedger
    environment: dict[str, str]

    def submit(self, wishes: list[Wish]) -> None:
        listed = self.folder / "wishes"
        listed.write_text("\n".join(json.dumps(asdict(wish)) for wish in wishes))
        self._run(str(listed))

    def states(self) -> dict[str, str]:
        if self.name == CHAIN:
            entries = books.read(self.ledger.log).items()
            said = {saga: books.last_word(of_saga) for saga, of_saga in entries}
        else:
            said = json.loads(self._run("states"))
        return {saga: word for saga, word in said.items() if word in _FINAL}

    def worker(self, number: int, children: int) -> WorkerProcess:
        return RivalWorker(
            database_url="",
            broker_url="",
            folder=self.folder / "logs",
            concurrency=children,
            name=f"worker{number + 1}",
            environment=self.environment,
            python=self.python,
            application=self.application,
        )

    def _run(self, *arguments: str) -> str:
        command = [str(self.python), "-m", self.application, *arguments]
        everything = {**os.environ, **self.environment}
        return subprocess.check_output(command, env=everything, text=True, cwd=CHECKOUT)


@contextmanager
def _rival(name: str, python: Path, children: int, limits: dict[str, str]) -> Iterator[Contender]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sagas-rival-")))
        redis, state = start_redis(), start_redis()
        ledger = start_ledger(folder / "ledger")
        for server in (redis, state, ledger.server):
            stack.callback(server.remove)
        rival = _Rival(
            name=name,
            python=python,
            application=f"benchmarks.faults.rivals.{_MODULES[name]}",
            folder=folder,
            ledger=ledger,
            environment={
                **ledger.environment,
                BROKER_VARIABLE: f"{redis.url}/0",
                STATE_VARIABLE: f"{state.url}/0",
                **limits,
                "PYTHONPATH": str(CHECKOUT),
            },
        )
        slots = _start_workers(lambda number: rival.worker(number, children), stack)
        yield Contender(
            redis=redis, ledger=ledger, slots=slots, submit=rival.submit, states=rival.states
        )


_MODULES = {CHAIN: "chain", CELERY_SAGA: "celery_saga_app"}
_FINAL = frozenset({"completed", "compensated", "failed"})


def _start_workers(make: Callable[[int], WorkerProcess], stack: ExitStack) -> list[Slot]:
    slots = []
    for number in range(WORKERS):

        def again(number: int = number) -> WorkerProcess:
            return make(number)

        slot = Slot(make=again, worker=again().start(wait=False))
        stack.callback(slot.kill)
        slots.append(slot)
    for slot in slots:
        slot.worker.wait_until_ready(60)
    return slots
