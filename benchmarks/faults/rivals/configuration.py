"""Celery's settings for both: every advice for tasks that must not be lost, and a short redelivery.

The modules here run in environments of their own, with nothing of this project's dependencies but
Celery and redis.
"""

import os
from typing import Any


BROKER_VARIABLE = "FAULTS_BROKER"
STATE_VARIABLE = "FAULTS_STATE"
TIME_LIMIT_VARIABLE = "FAULTS_TIME_LIMIT"
REDELIVERY_VARIABLE = "FAULTS_REDELIVERY"


def configuration() -> dict[str, Any]:
    """Return the settings.

    ``visibility_timeout`` is an hour by default; most scenarios set it to 20 s, so that a message that
    a dead worker held comes back in time, and "stuck" does not only mean "not yet".
    """
    limit = os.environ.get(TIME_LIMIT_VARIABLE)
    return {
        "broker_url": os.environ[BROKER_VARIABLE],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": int(os.environ[REDELIVERY_VARIABLE]),
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
        "task_acks_late": True,
        "task_ignore_result": True,
        "task_time_limit": float(limit) if limit else None,
        "worker_prefetch_multiplier": 1,
    }


RETRY: dict[str, Any] = {
    "autoretry_for": (ConnectionError,),
    "retry_backoff": True,
    "max_retries": 3,
}
"""The options of each step, the same as this product's defaults."""
