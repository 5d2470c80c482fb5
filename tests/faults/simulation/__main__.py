"""``python -m tests.faults.simulation 7`` replays the life of seed 7, and shrinks it if it breaks a law.

``python -m tests.faults.simulation 0:1000`` plays a thousand, ``0:1000 family`` of a saga with a child. On ``DATABASE_URL``, or in memory.
"""

import os
import sys

import django


def main() -> int:
    """Play; return how many broke a law."""
    os.environ.setdefault("DATABASE_URL", "sqlite:///:memory:")
    os.environ.setdefault("SAGAS_BROKER_URL", "memory://")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()

    from django.conf import settings  # noqa: PLC0415 these need the settings
    from django.core.management import call_command  # noqa: PLC0415

    from tests.faults.simulation.fuzz import play  # noqa: PLC0415
    from tests.faults.simulation.scenario import family_scenario, scenario  # noqa: PLC0415

    settings.DEBUG = False  # on, Django keeps every statement
    call_command("migrate", verbosity=0)
    first, _, last = sys.argv[1].partition(":")
    make = family_scenario if "family" in sys.argv[2:] else scenario
    return play(range(int(first), int(last or int(first) + 1)), make=make)


if __name__ == "__main__":
    sys.exit(main())
