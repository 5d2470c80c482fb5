"""The example project's settings, with the soak's app. Every setting of the engine is its default."""

from config.settings import *  # noqa: F403


INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.faults"]  # noqa: F405
DEBUG = False
SECRET_KEY = "the soak has no web pages"  # noqa: S105
