"""Workers that are started again whenever one of them is killed, each behind a proxy of its own."""

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.plant.worker_process import WorkerProcess
from tests.faults.crashes.blows import BROKER_SWITCH
from tests.faults.proxy import Proxy


@dataclass
class Fleet:
    """One child in each worker, so that killing a worker hits the attempt of one saga only."""

    workers: list[WorkerProcess]
    restarts: int = 0
    ended_by_themselves: list[str] = field(default_factory=list)
    """The ends of the logs of workers that nobody killed, and that are dead."""

    def keep_alive(self) -> None:
        """Start again whoever is dead, as a service manager does."""
        for worker in self.workers:
            if not worker.alive:
                if worker.exit_code != -signal.SIGKILL:
                    self.ended_by_themselves.append(f"{worker.exit_code}: {worker.tail(3000)}")
                worker.kill()  # the children of a killed main process
                worker.start(wait=False)
                self.restarts += 1


@contextmanager
def fleet(
    size: int, *, database_url: str, broker_url: str, folder: Path, settings: Mapping[str, object]
) -> Iterator[Fleet]:
    """Start ``size`` workers; plans of faults are read from ``folder``."""
    with ExitStack() as stack:
        workers = []
        for number in range(size):
            proxy = stack.enter_context(Proxy(broker_url))
            worker = WorkerProcess(
                database_url=database_url,
                broker_url=proxy.url,
                folder=folder,
                concurrency=1,
                name=f"hit{number}",
                environment={
                    "SAGAS_TEST_FAULTS": str(folder),
                    "SAGAS_TEST_SETTINGS": json.dumps(settings),
                    BROKER_SWITCH: str(proxy.switch_port),
                },
            )
            stack.callback(worker.kill)
            workers.append(worker.start(wait=False))
        for worker in workers:
            worker.wait_until_ready()
        yield Fleet(workers)
