"""The Django app that holds the measured sagas."""

from django.apps import AppConfig


class SpeedConfig(AppConfig):
    """Has no models."""

    name = "benchmarks.speed"
    label = "speed"
