"""One server process with its own folder and port, that tests may stop, stall and bring back."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.plant.watchdog import run_folder


START_SECONDS = 60


class Unavailable(Exception):
    """A real part cannot be had here; the message says how to get it."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now.

    It may be opened later, so parallel processes of the suite draw from different ports.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        # The system prefers ports of one parity.
        if port // 2 % processes == process % processes:
            return port


def binary(name: str, *folders: str, package: str) -> str:
    """Find a server's executable.

    Raises:
        Unavailable: it is not installed.
    """
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise Unavailable(f"{name} is not installed. On Debian: apt-get install -y {package}")
    return found


@dataclass(kw_only=True)
class ServerProcess:
    """A server that was started for the tests, and what it takes to start it again."""

    name: str
    url: str
    folder: Path
    command: Sequence[str]
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    companions: Sequence["ServerProcess"] = ()
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start, and return when it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(self.user),
            )
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.remove()
            raise

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End the whole process tree at once, as a machine does that loses power."""
        self._tree(psutil.Process.kill)
        if self._process is not None:
            self._process.wait(60)

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end; insist after a while."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def pause(self) -> None:
        """Keep the connections open and answer nothing."""
        self._tree(psutil.Process.suspend)

    def resume(self) -> None:
        """Go on where :meth:`pause` stopped."""
        self._tree(psutil.Process.resume)

    def remove(self) -> None:
        """End it for good, with its data."""
        self.stop(seconds=5)
        for companion in self.companions:
            companion.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """The process and all that descend from it; none when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return []
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def _tree(self, act: Callable[[psutil.Process], None]) -> None:
        for process in self.processes():
            try:
                act(process)
            except psutil.NoSuchProcess:
                continue


def new_folder(name: str, user: str | None = None) -> Path:
    """Make a folder of its own for a server, owned by the user it runs as."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=run_folder()))
    if user is not None:
        shutil.chown(folder, user, _group_of(user))
    return folder


def as_user(user: str | None) -> dict[str, Any]:
    """Return what makes :mod:`subprocess` run a program as somebody else."""
    if user is None:
        return {}
    return {"user": user, "group": _group_of(user), "extra_groups": []}


def _group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid
