"""What a run has started ends with it, also when the run is killed: another process watches.

A run is whatever starts servers and workers: pytest with all its processes, or a benchmark. What it
starts has ``PLANT_FOLDER`` in its environment, and so has what that starts in turn.
"""

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil


VARIABLE = "PLANT_FOLDER"
LOOK_SECONDS = 0.5
ROUNDS = 20


def run_folder() -> Path:
    """Return the folder of this run's servers; it is removed when the run is over.

    The first call makes it, starts the watchdog and names the folder in this process's environment.
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        given = os.environ[VARIABLE] = tempfile.mkdtemp(prefix="sagas-run-")
        # Some servers run as users of their own.
        Path(given).chmod(0o711)
        _start_watchdog(given)
    return Path(given)


def _start_watchdog(folder: str) -> None:
    """Start it in a session of its own, so that no signal to the run's terminal reaches it."""
    os.posix_spawn(
        sys.executable,
        [sys.executable, __file__, str(os.getpid()), folder],
        {name: value for name, value in os.environ.items() if name != VARIABLE},
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)],
        setsid=True,
    )


def watch(run: int, folder: Path) -> None:
    """Wait until the process ``run``, our parent, is over; then end what it left and remove it."""
    while os.getppid() == run:
        time.sleep(LOOK_SECONDS)
    for _ in range(ROUNDS):
        left = processes_of(folder)
        if not left:
            break
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=LOOK_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes of a run. A server that rewrites its title has lost its environment."""
    return [
        process
        for process in psutil.process_iter()
        if _environment(process) == str(folder) or folder in [*_place(process).parents]
    ]


def _environment(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.environ().get(VARIABLE, "")
    return ""


def _place(process: psutil.Process) -> Path:
    with suppress(psutil.Error):
        return Path(process.cwd())
    return Path("/")


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]))
