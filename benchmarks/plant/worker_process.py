"""A real Celery worker, that a test may kill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.plant.watchdog import run_folder


CHECKOUT = Path(__file__).resolve().parents[2]
READY = re.compile(r"@\S+ ready\.")
_numbers = count(1)


@dataclass(kw_only=True)
class WorkerProcess:
    """``celery -A config worker`` in a process group of its own."""

    database_url: str
    broker_url: str
    folder: Path
    pool: str = "prefork"
    concurrency: int = 2
    queues: Sequence[str] = ()
    """None: all that ``CELERY_TASK_QUEUES`` names."""
    include: Sequence[str] = ()
    """Modules to import besides, such as a test's own sagas."""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``SAGAS``, such as a short lease where a test would wait for a long one."""
    connection: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``DATABASES["default"]``."""
    django: Mapping[str, Any] = field(default_factory=dict)
    """Further Django settings."""
    name: str = field(default_factory=lambda: f"worker{next(_numbers)}")
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What the worker and its children printed."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The main process, which receives messages and forks the children."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started.")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the main process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the main process ended: minus the signal, if by one. None: it runs, or never did."""
        return None if self._process is None else self._process.poll()

    def start(self, *, wait: bool = True) -> Self:
        """Start, and return when it consumes messages."""
        self.folder.mkdir(parents=True, exist_ok=True)
        run_folder()  # from then on it belongs to the run, by its environment
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=CHECKOUT,
                env={**os.environ, **self._environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Return when it consumes messages."""
        deadline = time.monotonic() + seconds
        while not READY.search(self.log.read_text()):
            if not self.alive or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.name} did not start:\n{self.tail()}")
            time.sleep(0.02)

    def child_pids(self) -> list[int]:
        """The prefork children, which run the handlers."""
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.pid).children()]
        return []

    def kill(self) -> None:
        """Kill the main process and its children at the same moment, as a lost machine does."""
        self._signal_group(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(60)

    def kill_children(self) -> None:
        """Kill the handlers and leave the main process to notice."""
        for pid in self.child_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pause(self) -> None:
        """Stop the time of the whole worker, as a suspended machine does."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on where :meth:`pause` stopped."""
        self._signal_group(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """Ask it to end; the running steps may finish."""
        if self._process is not None and self.alive:
            self.resume()
            self._process.terminate()

    def terminate(self, seconds: float = 30) -> None:
        """End as a deploy ends it: the running steps may finish. Insist after a while."""
        self.ask_to_stop()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def tail(self, characters: int = 6000) -> str:
        """The end of the log."""
        return self.log.read_text()[-characters:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "celery", "-A", "config", "worker"]
        command += ["-P", self.pool, "-c", str(self.concurrency), "-n", f"{self.name}@%h"]
        command += ["-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        if self.queues:
            command += ["-Q", ",".join(self.queues)]
        if self.include:
            command += ["-I", ",".join(self.include)]
        return [*command, *self.options]

    def _environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "SAGAS_BROKER_URL": self.broker_url,
            "SAGAS_DATA_DIR": str(self.folder),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONUNBUFFERED": "1",
            # The test process has its own idea of warnings.
            "PYTHONWARNINGS": "default",
            "SAGAS_TEST_SETTINGS": json.dumps(dict(self.settings)),
            "SAGAS_TEST_CONNECTION": json.dumps(dict(self.connection)),
            "SAGAS_TEST_DJANGO": json.dumps(dict(self.django)),
            **self.environment,
        }
