"""The Django app that holds long and wide sagas: only here, because every worker loads every step."""

from django.apps import AppConfig


class GrowthConfig(AppConfig):
    """Has no models."""

    name = "benchmarks.speed.growth"
    label = "growth"
