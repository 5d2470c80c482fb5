"""The processes that the demo and the server start, stop and kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType


CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Child:
    """A process and its descendants, in a process group of their own."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 fixed commands of this module
                command,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the whole group at once, as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, patience: float = 15) -> None:
        """Ask the process to end, then insist."""
        if self.alive:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self.kill()

    def last_words(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start_worker(name: str, folder: Path) -> Child:
    """Start a prefork worker with two children, which takes from every queue."""
    command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-n", f"{name}@%h"]
    command += ["-P", "prefork", "-c", "2", "-l", "INFO"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return Child(command, folder / f"{name}.log")


def start_web(address: str, folder: Path) -> Child:
    """Start Django's own web server."""
    command = [sys.executable, "manage.py", "runserver", "--noreload", address]
    return Child(command, folder / "web.log")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does: through every ``finally``."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
