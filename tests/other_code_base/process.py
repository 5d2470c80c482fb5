"""A worker of the other code base, in an environment of its own."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.plant.worker_process import WorkerProcess


OWN_CODE = Path(__file__).with_name("payments.py")


@dataclass(kw_only=True)
class RemoteWorker(WorkerProcess):
    """``celery -A payments worker``, without Django and without the sagas."""

    site: Path
    """A folder with what it may import."""
    app: str = "payments"
    """The module of its Celery application."""
    results: str = ""
    acks_late: bool = False
    queues: Sequence[str] = ("other.payments",)

    def _command(self) -> list[str]:
        # -S leaves the site-packages of this interpreter out, -P the working directory.
        command = [sys.executable, "-S", "-P", "-m", "celery", "-A", self.app, "worker"]
        command += ["-c", "1", "-n", f"{self.name}@%h", "-Q", ",".join(self.queues), "-l", "INFO"]
        return [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"]

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(self.site),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default",
            "PAYMENTS_BROKER": self.broker_url,
            "PAYMENTS_RESULTS": self.results,
            "PAYMENTS_ACKS_LATE": "1" if self.acks_late else "",
            **self.environment,
        }


def make_site(folder: Path, own_code: Path = OWN_CODE) -> Path:
    """Make a folder from which Celery and Redis can be imported, and the other side's own code."""
    folder.mkdir()
    for found in _needed("celery", "redis", "packaging"):
        for part in {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}:
            link, there = folder / part, Path(str(found.locate_file(part)))
            if there.exists() and not link.exists() and part != "__pycache__":
                link.symlink_to(there)
    (folder / own_code.name).symlink_to(own_code)
    return folder


def imports(site: Path, name: str) -> bool:
    """Whether a process of the other side can import a module."""
    command = [sys.executable, "-S", "-P", "-c", f"import {name}"]
    environment = {"PYTHONPATH": str(site), "PAYMENTS_BROKER": "memory://"}
    return (
        subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    )


def _needed(*names: str) -> Iterator[Distribution]:
    todo, seen = [*names], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        yield found
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
