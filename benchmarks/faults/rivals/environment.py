"""A virtual environment of its own for a package that this project does not depend on."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.worker_process import CHECKOUT


class Absent(Exception):
    """The package cannot be installed here."""


def environment_with(package: str) -> Path:
    """Return a Python that has the package, beside the same Celery and redis as this one.

    Raises:
        Absent: it cannot be installed.
    """
    folder = CHECKOUT / "var" / "rivals" / package.partition("[")[0]
    python = folder / "bin" / "python"
    installed = folder / "installed"
    if installed.exists():
        return python
    same = [f"{name}=={version(name)}" for name in ("kombu", "redis")]
    same.append(f"celery[redis]=={version('celery')}")
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


def version_of(python: Path, package: str) -> str:
    """Return the version of a package in that environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return found.stdout.strip()
