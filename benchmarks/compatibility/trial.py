"""One environment is made, and the tests run in it."""

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.compatibility import lock
from benchmarks.compatibility.candidates import Candidate
from benchmarks.compatibility.interpreters import Interpreter


HOME = lock.CHECKOUT / ".venv-matrix"
SHOWN = ("django", "celery", "kombu", "redis", "psycopg", "pydantic", "django-celery-results")
HOUR = 3600
QUICK = ("tests/unit", "tests/integration", "-m", "not acceptance and not redis and not rabbitmq")
# Of the environment that is locked, and of what reads types in it.
WHOLE = ("tests", "--ignore=tests/packaging", "--ignore=tests/typing", "-m", "not slow")


@dataclass
class Trial:
    """What became of a candidate."""

    candidate: Candidate
    outcome: str
    passed: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    log: Path | None = None


def attempt(candidate: Candidate, *, whole: bool, processes: int) -> Trial:
    """Make the environment, or take the one of an earlier time, and run the tests in it."""
    if candidate.impossible:
        return Trial(candidate, candidate.impossible)
    if candidate.python is None:
        return Trial(candidate, f"Python {candidate.version} is not on this machine")
    log = HOME / f"{candidate.name}.log"
    try:
        python = _environment(candidate, candidate.python)
    except subprocess.CalledProcessError as failed:
        log.write_text(f"{failed.stdout}\n{failed.stderr}")
        return Trial(candidate, "cannot be installed", log=log)
    began = time.monotonic()
    said = _tests(python, log, whole=whole, processes=processes)
    return Trial(
        candidate,
        f"{_summary(log)}, {time.monotonic() - began:.0f} s",
        passed=said == 0,
        versions=_versions(python),
        log=log,
    )


def _environment(candidate: Candidate, interpreter: Interpreter) -> Path:
    folder = HOME / candidate.name
    constraints = "\n".join(candidate.constraints)
    wanted = [f"{lock.CHECKOUT}[binary]", *lock.PROJECT["dependency-groups"]["test"]]
    asked = hashlib.sha256("\n".join([*wanted, constraints]).encode()).hexdigest()
    done = folder / "installed"
    python = folder / "bin" / "python"
    # What is newest is asked anew each time.
    if constraints and done.exists() and done.read_text() == asked:
        return python
    _run([str(interpreter.path), "-m", "venv", "--clear", str(folder)])
    file = folder / "constraints.txt"
    file.write_text(constraints)
    install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(file)]
    _run([*install, "--editable", *wanted])
    done.write_text(asked)
    return python


def _tests(python: Path, log: Path, *, whole: bool, processes: int) -> int:
    command = [str(python), "-m", "pytest", *(WHOLE if whole else QUICK), "-q", "--no-header"]
    command += ["-p", "no:cacheprovider"]
    if processes > 1:
        command += ["--numprocesses", str(processes), "--dist", "loadfile"]
    chosen = {"SAGAS_TEST_DATABASE": "" if whole else "sqlite"}
    with log.open("w") as opened:
        done = subprocess.run(
            command,
            cwd=lock.CHECKOUT,
            env={**os.environ, **chosen},
            stdout=opened,
            stderr=subprocess.STDOUT,
            timeout=3 * HOUR,
            check=False,
        )
    return done.returncode


def _summary(log: Path) -> str:
    """Return pytest's last line, without its time and what was not meant to run."""
    lines = log.read_text().strip().splitlines()
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", lines[-1] if lines else "")
    return ", ".join(counts) or "no test ran"


def _versions(python: Path) -> dict[str, str]:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = _run([str(python), "-c", code, *SHOWN]).split()
    interpreter = _run([str(python), "-c", "import platform; print(platform.python_version())"])
    return {"Python": interpreter.strip(), **dict(zip(SHOWN, found, strict=True))}


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=HOUR)
    return done.stdout
