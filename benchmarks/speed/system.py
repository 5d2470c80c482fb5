"""A contender that runs: servers, workers and a client of its own, all of which can stand still."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from benchmarks.plant.servers.postgres import start_postgres
from benchmarks.plant.servers.process import ServerProcess, free_port, new_folder
from benchmarks.plant.servers.redis import start_redis
from benchmarks.speed import meter
from benchmarks.speed.applications.ledger import began_key, ended_key
from benchmarks.speed.contender import Contender, Parts


class Stuck(Exception):
    """Not all sagas of a batch ended in time, or could be started."""


@dataclass(kw_only=True)
class Client:
    """The process that starts sagas."""

    process: "subprocess.Popen[str]"
    log: Path

    def order(self, **order: object) -> Any:
        """Give an order and return the answer.

        Raises:
            Stuck: the process ended instead; the message is what it printed.
        """
        assert self.process.stdin is not None  # noqa: S101 it is a pipe
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """Return the next answer; the first one says that it is ready.

        Raises:
            Stuck: the process ended instead; the message is what it printed.
        """
        assert self.process.stdout is not None  # noqa: S101 it is a pipe
        answer = self.process.stdout.readline()
        if not answer:
            raise Stuck(f"the client ended\n{self.log.read_text()[-3000:]}")
        return json.loads(answer)


@dataclass(kw_only=True)
class System:
    """All parts of one contender."""

    contender: Contender
    parts: Parts
    ledger: "redis.Redis"
    servers: list[ServerProcess] = field(default_factory=list)
    workers: list[ServerProcess] = field(default_factory=list)
    statements: meter.Statements | None = None
    rate: float = 0.0
    """Sagas per second, as measured last."""
    watch: Callable[[], None] = lambda: None
    """Called again and again while a batch runs."""
    _client: Client | None = None

    def submit(self, number: int) -> str:
        """Start sagas, and return the name of their batch."""
        batch = uuid4().hex
        self.client.order(what="submit", batch=batch, number=number)
        return batch

    def one_by_one(self, number: int, seconds: float) -> list[float]:
        """Return the latencies of sagas that each meet idle workers, in ms."""
        order = {"what": "one by one", "number": number, "seconds": seconds}
        found: list[float] = self.client.order(batch=uuid4().hex, **order)
        return found

    def wait(self, batch: str, number: int, seconds: float) -> float:
        """Wait for the end of a batch; return the seconds from its first begin to its last end.

        Raises:
            Stuck: it does not end.
        """
        until = time.monotonic() + seconds
        while self.ledger.llen(ended_key(batch)) < number:
            if time.monotonic() > until or not all(one.processes() for one in self.workers):
                done = self.ledger.llen(ended_key(batch))
                raise Stuck(f"{done} of {number} ended in {seconds:.0f} s\n{self.tail()}")
            self.watch()
            time.sleep(0.02)
        return max(self._moments(ended_key(batch))) - min(self._moments(began_key(batch)))

    def _moments(self, key: str) -> list[float]:
        return [float(moment) for moment in self.ledger.lrange(key, 0, -1)]

    @property
    def client(self) -> Client:
        """The process that starts sagas."""
        assert self._client is not None  # noqa: S101 running() made it
        return self._client

    def messages(self) -> int:
        """Messages sent so far."""
        return meter.messages(self.parts.redis) if self.parts.redis else 0

    def use(self) -> meter.Use:
        """What the workers have used so far."""
        return meter.use_of(one for worker in self.workers for one in worker.processes())

    def stand_still(self) -> None:
        """Stop the time of everything, so that the others have the machine for themselves."""
        for part in [*self.workers, *self.servers]:
            part.pause()

    def go_on(self) -> None:
        """Take it up where it stood."""
        for part in [*self.servers, *self.workers]:
            part.resume()

    def tail(self) -> str:
        """What the workers printed last."""
        return "\n".join(worker.log.read_text()[-2000:] for worker in self.workers)


@contextmanager
def running(contender: Contender, ledger: str, **postgres: str) -> Iterator[System]:
    """Start everything of a contender, and end it. ``postgres`` are options of its server.

    Raises:
        Absent: its packages cannot be installed.
        Stuck: its tables are not made, or its client does not start.
    """
    contender.python()
    with ExitStack() as stack:
        servers = []
        if contender.needs_postgres:
            servers.append(start_postgres(free_port(), **meter.POSTGRES_OPTIONS, **postgres))
            stack.callback(_end, servers[-1])
        if contender.needs_redis:
            servers.append(start_redis())
            stack.callback(_end, servers[-1])
        parts = Parts(
            postgres=servers[0].url if contender.needs_postgres else "",
            redis=servers[-1].url if contender.needs_redis else "",
            ledger=ledger,
        )
        told = stack.enter_context(closing(redis.Redis.from_url(ledger)))
        system = System(contender=contender, parts=parts, ledger=told, servers=servers)
        if parts.postgres:
            system.statements = meter.Statements(parts.postgres)
            stack.callback(system.statements.close)
        _start_processes(stack, system)
        yield system


def _end(server: ServerProcess) -> None:
    server.resume()
    server.kill()
    server.remove()


def _run(command: list[str], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Stuck(f"{command} ended with {done.returncode}\n{done.stderr[-3000:]}")


def _start_processes(stack: ExitStack, system: System) -> None:
    contender, parts = system.contender, system.parts
    variables = contender.variables(parts)
    folder = new_folder("speed")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    everything = {**os.environ, **variables, "SAGAS_DATA_DIR": str(folder)}
    for command in contender.commands(contender.prepare, parts) if contender.prepare else []:
        _run(command, everything, folder)
    for command in contender.commands(contender.worker, parts):
        worker = ServerProcess(
            name=contender.name,
            url="",
            folder=new_folder("speed"),
            command=command,
            answers=lambda: True,
            environment={**variables, "SAGAS_DATA_DIR": str(folder)},
        )
        worker.start()
        system.workers.append(worker)
        stack.callback(_end, worker)
    (command,) = contender.commands(contender.client, parts)
    log = folder / "client.log"
    with log.open("w") as printed:
        process = subprocess.Popen(
            command,
            env=everything,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            start_new_session=True,
        )
    # Left after it was killed: closes the pipes and waits.
    stack.enter_context(process)
    stack.callback(process.kill)
    system._client = Client(process=process, log=log)  # noqa: SLF001 made last, by the maker
    system.client.answer()
