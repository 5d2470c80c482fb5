"""The ways to start this product's sagas, beside a plain task. Run as a module, it obeys orders.

``{"way": "one by one", "number": 500, "silent": false}`` is answered by ``[seconds, CPU seconds]``.
Silently no message is sent: it is left to the sweep, as it would be after a failed send.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from uuid import uuid4

import django


def main() -> None:
    django.setup()
    print(json.dumps("ready"), flush=True)
    ways = _ways()
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_take(ways[order["way"]], order)), flush=True)


def _take(way: Callable[[int], None], order: Mapping[str, int]) -> tuple[float, float]:
    from sagas.engine import dispatch  # noqa: PLC0415 after the setup

    publisher = dispatch._publisher  # noqa: SLF001 the product has no switch for this
    publisher._paused_until = math.inf if order["silent"] else 0.0  # noqa: SLF001
    began, used = time.perf_counter(), time.process_time()
    way(order["number"])
    return time.perf_counter() - began, time.process_time() - used


def _ways() -> dict[str, Callable[[int], None]]:
    from benchmarks.speed.sagas import InPlace, Order  # noqa: PLC0415 after the setup
    from config.celery import app  # noqa: PLC0415
    from sagas import start_saga, start_sagas  # noqa: PLC0415

    one = Order(batch="none waits for it")

    def one_by_one(number: int) -> None:
        for _ in range(number):
            start_saga(InPlace, one, key=uuid4().hex)

    def together(number: int) -> None:
        start_sagas(InPlace, [one] * number, keys=[uuid4().hex for _ in range(number)])

    @app.task(name="plain", ignore_result=True)
    def plain() -> None: ...

    def tasks(number: int) -> None:
        for _ in range(number):
            plain.apply_async()

    return {"one by one": one_by_one, "together": together, "tasks": tasks}


if __name__ == "__main__":
    main()
