"""Where Django begins with the package: discovery of ``<app>/sagas.py``, checks, Celery tasks."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class SagasConfig(AppConfig):
    """Registers every declared saga, and a Celery task for each of its steps."""

    name = "sagas"
    label = "sagas"
    verbose_name = _("Sagas")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Discover the sagas; then register checks, tasks and the sweep, which need them."""
        autodiscover_modules("sagas")
        from sagas import checks  # noqa: F401, PLC0415 need the models
        from sagas.worker import bootsteps, tasks  # noqa: F401, PLC0415 need the models

        tasks.register_all()
