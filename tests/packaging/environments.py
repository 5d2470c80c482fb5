"""Environments of Python that see nothing but what they are given."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


SECONDS = 300


def run(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        CalledProcessError: it failed; a note tells what it printed.
    """
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        raise
    return done.stdout


def isolated(wheels: Path) -> dict[str, str]:
    """Return an environment in which pip finds these wheels, and asks and reads nothing else."""
    kept = {name: value for name, value in os.environ.items() if _is_plain(name)}
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _is_plain(name: str) -> bool:
    ours = name.startswith(("PIP_", "PYTHON", "DJANGO_", "SAGAS_", "CELERY", "COV", "VIRTUAL_ENV"))
    return not ours and name != "DATABASE_URL"
