"""The broker: whether it forgets, blocks, or delivers twice."""

from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 Django's word

from sagas.checks.tag import TAG
from sagas.conf import saga_settings
from sagas.definitions import CompensationDefinition, StepDefinition, registry


REDIS = {"redis", "rediss", "sentinel"}
WITHOUT_ACKNOWLEDGEMENT = {"memory", "filesystem"}
REDIS_VISIBILITY_SECONDS = 3600
"""What kombu takes when ``visibility_timeout`` is not set."""


@register(TAG, deploy=True)
def check_broker(**_: Any) -> list[CheckMessage]:
    """Report a broker that forgets, blocks, or delivers twice."""
    transport = str(current_app.connection_for_write().transport_cls)
    if transport in WITHOUT_ACKNOWLEDGEMENT:
        return [
            Warning(
                f"The broker is {transport}://, which forgets what a killed worker held.",
                hint="Set CELERY_BROKER_URL to Redis or RabbitMQ in production.",
                id="sagas.W002",
            )
        ]
    return list(_redis_options(current_app.conf)) if transport in REDIS else []


@register(TAG, deploy=True)
def check_queues(**_: Any) -> list[CheckMessage]:
    """Report queues to which nothing can be sent."""
    conf = current_app.conf
    if conf.task_create_missing_queues:
        return []
    declared = set(current_app.amqp.queues)
    return [
        Error(
            f"{place} goes to queue {queue!r}, which CELERY_TASK_QUEUES does not declare, and"
            " CELERY_TASK_CREATE_MISSING_QUEUES is off: its messages cannot be sent.",
            hint=f"Declare {queue!r} in CELERY_TASK_QUEUES, or correct the step's queue.",
            id="sagas.E018",
        )
        for place, queue in _queues()
        if queue not in declared
    ]


def _queues() -> Iterator[tuple[str, str]]:
    settings = saga_settings()
    names = settings.STEP_QUEUE, settings.COMPENSATION_QUEUE, settings.COORDINATOR_QUEUE
    yield from (("SAGAS", name) for name in names)
    for saga in registry.all():
        for step in saga.definition.steps:
            for place, handler in _handlers(step):
                if handler.options.queue:
                    yield place, handler.options.queue
                if handler.remote_task is not None:
                    yield (
                        f"the task {handler.remote_task.name} of {place}",
                        handler.remote_task.queue,
                    )


def _handlers(
    step: StepDefinition,
) -> Iterator[tuple[str, StepDefinition | CompensationDefinition]]:
    yield step.place, step
    if step.compensation is not None:
        yield f"the compensation of {step.place}", step.compensation


def _redis_options(conf: Any) -> Iterator[CheckMessage]:
    options: dict[str, Any] = conf.broker_transport_options or {}
    unbounded = [
        name for name in ("socket_timeout", "socket_connect_timeout") if not options.get(name)
    ]
    if unbounded:
        yield Warning(
            f"CELERY_BROKER_TRANSPORT_OPTIONS has no {' and no '.join(unbounded)}:"
            " a Redis that accepts and never answers blocks whoever sends, for ever.",
            hint='Add {"socket_timeout": 5, "socket_connect_timeout": 2}.',
            id="sagas.W004",
        )
    visibility = options.get("visibility_timeout", REDIS_VISIBILITY_SECONDS)
    name, longest = _longest_step()
    if visibility < longest:
        yield Warning(
            f"visibility_timeout is {visibility} s, but {name} may run for {longest} s:"
            " Redis delivers it again, and again, while it runs.",
            hint=f"Set visibility_timeout in CELERY_BROKER_TRANSPORT_OPTIONS above {longest}.",
            id="sagas.W005",
        )


def _longest_step() -> tuple[str, float]:
    """Return the place and the time limit, in seconds, of what may run longest."""
    return max(_time_limits(), key=lambda limit: limit[1], default=("", 0.0))


def _time_limits() -> Iterator[tuple[str, float]]:
    for saga in registry.all():
        for step in saga.definition.steps:
            for _, handler in _handlers(step):
                # What another code base does keeps none of our workers.
                if handler.remote_task is None:
                    yield step.place, handler.options.time_limit
