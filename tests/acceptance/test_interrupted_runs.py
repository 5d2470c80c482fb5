"""Whoever ends a run of the tests, and how: no server and no worker of it is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from benchmarks.plant.watchdog import VARIABLE


pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.redis]

HELD_RUN = Path(__file__).with_name("held_run.py")
OURS = {VARIABLE, "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST"}


@contextmanager
def held_run(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run of its own, with a parallel process, whose test holds what it has started."""
    ready, log = folder / "ready", folder / "log"
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    with log.open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", str(HELD_RUN), "-n", "1", "-p", "no:cacheprovider"],
            env={**kept, "SAGAS_TEST_DATABASE": "postgresql", "HELD_RUN_IS_READY": str(ready)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: ready.exists() or run.poll() is not None)
        assert run.poll() is None, log.read_text()
        yield run
    finally:
        run.kill()
        run.wait(60)


def wait_until(fact: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
    ids=lambda number: signal.Signals(number).name,
)
def test_no_server_and_no_worker_outlives_a_run_that_was_ended_by(
    number: signal.Signals, tmp_path: Path
) -> None:
    with held_run(tmp_path) as run:
        started = psutil.Process(run.pid).children(recursive=True)
        lines = [" ".join(process.cmdline()) for process in started]
        for part in ("postgres", "redis-server", "celery -A config worker"):
            assert any(part in line for line in lines), lines
        # One parallel process, the three parts, two children of the worker, and the watchdog.
        assert len(started) >= 7
        (folder,) = {Path(line.split()[-1]) for line in lines if "watchdog.py" in line}
        assert folder.is_dir()
        run.send_signal(number)
        run.wait(60)
        _, left = psutil.wait_procs(started, timeout=60)
        assert not left
        assert not folder.exists()
