"""The Django app that holds the soak's saga."""

from django.apps import AppConfig


class FaultsConfig(AppConfig):
    """Has no models."""

    name = "benchmarks.faults"
    label = "faults"
