"""A virtual environment of its own for a package that this project does not depend on."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.plant.worker_process import CHECKOUT


class Absent(Exception):
    """The package cannot be installed here."""


def environment_with(
    package: str, *, beside: Sequence[str] = ("kombu", "redis", "celery[redis]")
) -> Path:
    """Return a Python that has the package, beside the versions of other packages that run here.

    It is made once and kept under ``var/``.

    Raises:
        Absent: it cannot be installed.
    """
    folder = CHECKOUT / "var" / "rivals" / name_of(package)
    python = folder / "bin" / "python"
    installed = folder / "installed"
    if installed.exists():
        return python
    same = [f"{wanted}=={version(name_of(wanted))}" for wanted in beside]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=120)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", package, *same],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error)
        lines = str(said).strip().splitlines()
        raise Absent(lines[-1] if lines else "pip failed") from error
    installed.touch()
    return python


def name_of(package: str) -> str:
    """Return the name in a requirement such as ``celery[redis]``."""
    return package.partition("[")[0]


def version_of(python: Path, package: str) -> str:
    """Return the version of a package in that environment."""
    code = f"from importlib.metadata import version; print(version({name_of(package)!r}))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return found.stdout.strip()
