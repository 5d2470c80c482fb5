"""Start the service."""

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.ledger.client import SOCKET_VARIABLE
from benchmarks.plant.servers.process import ServerProcess, new_folder
from benchmarks.plant.worker_process import CHECKOUT


@dataclass(frozen=True, kw_only=True)
class RunningLedger:
    """The service while it runs."""

    server: ServerProcess
    socket: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need to know."""
        return {SOCKET_VARIABLE: str(self.socket)}


def start_ledger(log: Path) -> RunningLedger:
    """Start with empty books, written to ``log``."""
    folder = new_folder("ledger")
    path = folder / "socket"
    log.touch()
    server = ServerProcess(
        name="the outside service",
        url=str(path),
        folder=folder,
        command=[sys.executable, "-m", "benchmarks.faults.ledger.service", str(path), str(log)],
        environment={"PYTHONPATH": str(CHECKOUT)},
        answers=lambda: _answers(path),
    )
    server.start()
    return RunningLedger(server=server, socket=path, log=log)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
