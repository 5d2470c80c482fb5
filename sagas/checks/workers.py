"""Celery's settings."""

from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 Django's word

from sagas.checks.tag import TAG


@register(TAG, deploy=True)
def check_celery(**_: Any) -> list[CheckMessage]:
    """Report Celery settings that work against the sagas."""
    return list(_celery_problems(current_app.conf))


def _celery_problems(conf: Any) -> Iterator[CheckMessage]:
    if conf.task_always_eager:
        yield Error(
            "CELERY_TASK_ALWAYS_EAGER is on: steps run inside the request, and die with it.",
            hint="Remove it; in tests run a worker, or call handlers directly.",
            id="sagas.E011",
        )
    if conf.task_reject_on_worker_lost:
        yield Warning(
            "CELERY_TASK_REJECT_ON_WORKER_LOST is on: it silences the error callback of a killed"
            " process, whose loss is then noticed only when its lease runs out.",
            hint="Remove it; leases redeliver what a dead process held.",
            id="sagas.W003",
        )
    accepted = set(conf.accept_content or ())
    if accepted - {"json", "application/json"}:
        yield Warning(
            f"CELERY_ACCEPT_CONTENT is {sorted(accepted)}: a message can be more than data.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"]; sagas send nothing else.',
            id="sagas.W006",
        )
