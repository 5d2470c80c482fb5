"""The settings of the comparison, with the long sagas."""

from benchmarks.speed.settings import *  # noqa: F403


INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.speed.growth"]  # noqa: F405
