"""The example project's settings, with the measured sagas. Every setting of the engine is its default."""

from config.settings import *  # noqa: F403


INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.speed"]  # noqa: F405
DEBUG = False
SECRET_KEY = "the benchmark has no web pages"  # noqa: S105
# A line of log per task would be a cost of ours alone: the others run with `-l WARNING`.
LOGGING["loggers"]["celery"]["level"] = "WARNING"  # type: ignore[index]  # noqa: F405
