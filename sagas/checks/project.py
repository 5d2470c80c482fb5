"""How the project is put together: its Celery application, and its tenants."""

from typing import Any

from celery import _state, current_app
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 Django's word

from sagas.checks.tag import TAG


TENANTS = "django_tenants"


@register(TAG)
def check_application(**_: Any) -> list[CheckMessage]:
    """Report a process that would publish by the application that Celery makes up when there is none."""
    used = [current_app, getattr(_state, "default_app", None)]
    if not any(_is_made_up(app) for app in used):
        return []
    return [
        Warning(
            "This process has no Celery application of the project: messages go to"
            f" {current_app.connection_for_write().as_uri()}, and each step waits until a sweep of a"
            " worker sends it.",
            hint="Import the application in the __init__.py of the project's package, before anything"
            ' uses Celery: "from .celery import app as celery_app".',
            id="sagas.W020",
        )
    ]


def _is_made_up(app: Any) -> bool:
    return app is not None and app.main == "default" and not app.set_as_current


@register(TAG)
def check_tenants(**_: Any) -> list[CheckMessage]:
    """Report sagas in the schemas of tenants, where no worker would look for them."""
    if TENANTS not in getattr(settings, "INSTALLED_APPS", ()):
        return []
    placed = getattr(settings, "TENANT_APPS", ())
    if not any(app == "sagas" or app.startswith("sagas.apps.") for app in placed):
        return []
    return [
        Error(
            "The tables of the sagas are in the schemas of tenants (TENANT_APPS): workers claim and"
            " sweep in the public schema, and would find none of them.",
            hint='Take "sagas" out of TENANT_APPS and put it into SHARED_APPS. docs/multitenancy.md has'
            " how a step finds the schema of its tenant.",
            id="sagas.E020",
        )
    ]
