"""The app of the tables that refer to sagas."""

from django.apps import AppConfig


class ReferencesConfig(AppConfig):
    """Loaded by the tests' settings only."""

    name = "tests.references"
    label = "references"
    default_auto_field = "django.db.models.BigAutoField"
