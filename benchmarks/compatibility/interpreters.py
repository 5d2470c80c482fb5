"""The interpreters that are there: on the PATH, or kept by pyenv."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


SUPPORTED = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Interpreter:
    """One Python, with the version that its patch releases share."""

    path: Path
    full_version: str

    @property
    def version(self) -> str:
        """``3.12`` of ``3.12.1``."""
        return ".".join(self.full_version.split(".")[:2])

    @property
    def markers(self) -> dict[str, str]:
        """What environment markers compare."""
        return {"python_version": self.version, "python_full_version": self.full_version}


def find() -> list[Interpreter]:
    """Return one interpreter for each supported version that is to be had, the oldest first."""
    found = (_first_that_runs(version) for version in SUPPORTED)
    return [interpreter for interpreter in found if interpreter is not None]


def _first_that_runs(version: str) -> Interpreter | None:
    # A pyenv shim is on the PATH for versions, too, that are not activated: it fails.
    for path in [*_from_pyenv(version), *_on_path(version)]:
        code = "import ensurepip, platform, venv; print(platform.python_version())"
        asked = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.startswith(f"{version}."):
            return Interpreter(path, asked.stdout.strip())
    return None


def _on_path(version: str) -> list[Path]:
    return [
        Path(found) for name in (f"python{version}", "python3") if (found := shutil.which(name))
    ]


def _from_pyenv(version: str) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = root.glob(f"versions/{version}.*/bin/python{version}")
    return sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))])[::-1]
