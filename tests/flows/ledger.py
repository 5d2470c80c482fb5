"""What handlers did, in a file outside the system under test."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: a handler ``began`` or ``ended``."""

    what: str
    phase: str
    key: str
    attempt: int
    pid: int
    at: float


def write(path: str, what: str, phase: str, key: str, attempt: int) -> None:
    """Append a line; one write, so that processes do not mix theirs."""
    entry = Entry(what=what, phase=phase, key=key, attempt=attempt, pid=os.getpid(), at=time.time())
    line = json.dumps(asdict(entry)) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(path: Path | str) -> list[Entry]:
    """Return all lines, in order."""
    if not Path(path).exists():
        return []
    return [Entry(**json.loads(line)) for line in Path(path).read_text().splitlines()]


def began(path: Path | str) -> list[str]:
    """Return the names of the handlers that began, in order."""
    return [entry.what for entry in read(path) if entry.phase == "began"]


def say(path: Path | str, what: str, *, of: object) -> None:
    """Tell the handlers of a run that something is so: those that wait for it go on."""
    write(str(path), what, "began", f"{of}:{what}", 0)


def wait_for(
    path: Path | str, what: str, *, phase: str = "began", of: object = "", timeout: float = 60
) -> Entry:
    """Return the first line of a handler, of any run or of one, when it is there."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        found: Sequence[Entry] = [
            entry
            for entry in read(path)
            if (entry.what, entry.phase) == (what, phase) and entry.key.startswith(str(of))
        ]
        if found:
            return found[0]
        time.sleep(0.02)
    message = f"{what} has not {phase} after {timeout} s"
    raise AssertionError(message)


def give_out(path: str, what: str, address: str) -> None:
    """Give an outside party the address at which a handler is to be answered."""
    Path(f"{path}.{what}").write_text(address)


def given_out(path: Path | str, what: str) -> str:
    """Return the address that a handler gave out last."""
    return Path(f"{path}.{what}").read_text()
