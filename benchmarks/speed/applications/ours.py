"""This product. Run as ``python -m benchmarks.speed.applications.ours prepare|client [SAGA]``."""

import sys
from uuid import uuid4

import django


def main() -> None:
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 after the setup

    if sys.argv[1] == "prepare":
        call_command("migrate", verbosity=0)
        return
    from benchmarks.speed import sagas  # noqa: PLC0415
    from benchmarks.speed.applications.client import obey  # noqa: PLC0415
    from sagas import start_saga  # noqa: PLC0415

    name = sys.argv[2]
    if name == "Compensated":
        saga, fails = sagas.InPlace, True
    else:
        saga, fails = getattr(sagas, name), False
    obey(lambda batch: start_saga(saga, sagas.Order(batch=batch, fails=fails), key=uuid4().hex))


if __name__ == "__main__":
    main()
