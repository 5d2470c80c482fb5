"""This product.

Run as ``python -m benchmarks.speed.applications.ours``, with ``prepare`` to make the tables, with
``client LABEL [fails]`` to start sagas, or with ``sweep NUMBER`` to sweep, printing the times in ms.
"""

import json
import sys
import time
from uuid import uuid4

import django


def main() -> None:
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 after the setup

    if sys.argv[1] == "prepare":
        call_command("migrate", verbosity=0)
        return
    if sys.argv[1] == "sweep":
        print(json.dumps([_sweep() for _ in range(int(sys.argv[2]))]))
        return
    from benchmarks.speed.applications.client import obey  # noqa: PLC0415
    from benchmarks.speed.sagas import Order  # noqa: PLC0415
    from sagas import start_saga  # noqa: PLC0415
    from sagas.definitions import registry  # noqa: PLC0415

    saga, fails = registry.get(sys.argv[2]), sys.argv[3:] == ["fails"]
    obey(lambda batch: start_saga(saga, Order(batch=batch, fails=fails), key=uuid4().hex))


def _sweep() -> float:
    from sagas.engine import recover  # noqa: PLC0415 after the setup

    began = time.perf_counter()
    recover.sweep(worker="benchmark")
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
