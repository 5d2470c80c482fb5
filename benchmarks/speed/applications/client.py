"""The process that starts a contender's sagas, as its orders come: one JSON object a line."""

import json
import sys
import time
from collections.abc import Callable

from benchmarks.speed.applications import ledger


Start = Callable[[str], object]
"""Starts one saga of a batch; its handlers tell the ledger under the batch's name."""

GIVE_UP_SECONDS = 30.0


def obey(start: Start) -> None:
    """Answer each order with a line: how many seconds starting took, or the latencies in ms.

    The first line says only that orders may come.
    """
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        batch, number = order["batch"], order["number"]
        if order["what"] == "submit":
            answer: object = _submit(start, batch, number)
        else:
            answer = _one_by_one(start, batch, number, order["seconds"])
        print(json.dumps(answer), flush=True)


def _submit(start: Start, batch: str, number: int) -> float:
    began = time.perf_counter()
    for _ in range(number):
        start(batch)
    return time.perf_counter() - began


def _one_by_one(start: Start, batch: str, number: int, seconds: float) -> list[float]:
    """The next saga starts when the one before has ended, so each meets idle workers."""
    found: list[float] = []
    until = time.monotonic() + seconds
    while len(found) < number and time.monotonic() < until:
        began = time.time()
        start(batch)
        ended = ledger.wait_for_end(batch, GIVE_UP_SECONDS)
        if ended is None:
            break
        found.append(1000 * (ended - began))
    return found
