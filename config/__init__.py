"""The project that runs the examples and the tests: one Django site, one Celery application."""

from config.celery import app as celery_app


__all__ = ["celery_app"]
