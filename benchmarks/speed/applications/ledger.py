"""Where every contender's handlers tell that sagas began and ended: two lists in a Redis per batch.

A process tells the begin of a batch once, so what is paid by every saga alike is one push at its end.
"""

import os
import time
from functools import cache

from redis import Redis


LEDGER_VARIABLE = "SPEED_LEDGER"
PAUSE_VARIABLE = "SPEED_PAUSE"
_told: set[str] = set()


@cache
def _redis() -> Redis:
    # Longer than anybody waits for an end.
    return Redis.from_url(os.environ[LEDGER_VARIABLE], socket_timeout=300)


def began(batch: str) -> None:
    """The first step of a saga runs."""
    if batch not in _told:
        _told.add(batch)
        _redis().rpush(began_key(batch), time.time())


def ended(batch: str) -> None:
    """The last step of a saga runs."""
    _redis().rpush(ended_key(batch), time.time())


def pause() -> None:
    """Wait as for somebody outside, where the workload is to wait."""
    if seconds := float(os.environ.get(PAUSE_VARIABLE) or 0):
        time.sleep(seconds)


def wait_for_end(batch: str, seconds: float) -> float | None:
    """Take one end of the batch: its moment. None: there was none in time."""
    found = _redis().blpop([ended_key(batch)], timeout=seconds)
    return None if found is None else float(found[1])


def began_key(batch: str) -> str:
    """The list of the moments at which each process began with the batch."""
    return f"{batch}:began"


def ended_key(batch: str) -> str:
    """The list of the moments at which its sagas ended."""
    return f"{batch}:ended"
