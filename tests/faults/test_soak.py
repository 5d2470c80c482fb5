"""The soak in small: every kind of fault, on real parts, and not one saga that lies."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.inflict import KINDS
from benchmarks.plant.servers import postgres
from benchmarks.plant.servers.process import Unavailable, binary
from benchmarks.plant.worker_process import CHECKOUT


pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.acceptance,
    pytest.mark.postgres,
    pytest.mark.redis,
]

SAGAS = 200


@pytest.fixture(autouse=True)
def _parts() -> None:
    """It starts its own servers, and so needs what is installed, not what is given by a URL."""
    try:
        postgres.find()
        binary("redis-server", package="redis-server")
    except Unavailable as missing:
        pytest.skip(str(missing))


@pytest.mark.timeout(420)
def test_no_saga_is_lost_and_none_lies_whatever_is_killed_stopped_flushed_or_cut(
    tmp_path: Path,
) -> None:
    page = tmp_path / "faults.md"
    command = [sys.executable, "-m", "benchmarks.faults.soak"]
    command += ["--sagas", str(SAGAS), "--at-a-time", "60", "--alone", "--report", str(page)]
    done = subprocess.run(
        command, cwd=CHECKOUT, check=False, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = page.read_text()
    assert "| **lost** (no final state) | **0** |" in report
    missing = {kind for kind, title in KINDS.items() if f"| {title} |" not in report}
    # While one process is stopped no other one is.
    assert missing in (set(), {"stop_child"}, {"stop_worker"})
