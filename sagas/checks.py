"""``manage.py check``: what is wrong with the sagas; with ``--deploy`` also what would lose or slow them.

Errors end in lost sagas, warnings in surprises. Every message has a stable id and a hint that cures.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 Django's word

from sagas.conf import SagaSettings, saga_settings
from sagas.database import saga_database
from sagas.definitions import StepOptions, registry
from sagas.exceptions import SagaConfigurationError


TAG = "sagas"
REDIS = {"redis", "rediss", "sentinel"}
WITHOUT_ACKNOWLEDGEMENT = {"memory", "filesystem"}
REDIS_VISIBILITY_SECONDS = 3600
"""What kombu takes when ``visibility_timeout`` is not set."""


@register(TAG)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Report what is wrong in ``SAGAS``."""
    try:
        conf = saga_settings()
    except SagaConfigurationError as error:
        hint = "Correct SAGAS in the Django settings; sagas/conf.py lists every key."
        return [Error(str(error), hint=hint, id="sagas.E001")]
    return list(_lease_problems(conf))


def _lease_problems(conf: SagaSettings) -> Iterator[CheckMessage]:
    for name in ("LEASE_SECONDS", "SUSPECT_LEASE_SECONDS"):
        if getattr(conf, name) < 2 * conf.LEASE_RENEWAL_SECONDS:
            yield Error(
                f"SAGAS[{name!r}] is shorter than two renewals: living attempts would be given up.",
                hint=f"Set it to {2 * conf.LEASE_RENEWAL_SECONDS:g} or more,"
                " or lower LEASE_RENEWAL_SECONDS.",
                id="sagas.E014",
            )


@register(TAG)
def check_labels(**_: Any) -> list[CheckMessage]:
    """Report labels that two sagas have: a row could not say which of them it is."""
    return [
        Error(
            f"{label} is the label of {' and of '.join(map(_dotted, sagas))}.",
            hint="Give one of them another Meta.label.",
            obj=sagas[-1],
            id="sagas.E002",
        )
        for label, sagas in registry.duplicates().items()
    ]


@register(TAG)
def check_definitions(**_: Any) -> list[CheckMessage]:
    """Report what is wrong with each saga, seen whole."""
    return [
        (Error if problem.is_error else Warning)(
            problem.message, hint=problem.hint, obj=saga, id=problem.id
        )
        for saga in registry.all()
        for problem in saga.definition.problems()
    ]


@register(TAG, deploy=True)
def check_database(**_: Any) -> list[CheckMessage]:
    """Report a database that is weaker or slower than it could be."""
    alias = saga_database()
    database: dict[str, Any] = settings.DATABASES[alias]
    if database["ENGINE"].endswith("sqlite3"):
        return [
            Warning(
                f"The sagas are in SQLite (DATABASES[{alias!r}]): one writer at a time, one machine.",
                hint="Use PostgreSQL in production.",
                id="sagas.W001",
            )
        ]
    return list(_connection_reuse(alias, database))


@register(TAG, deploy=True)
def check_pool(**_: Any) -> list[CheckMessage]:
    """Report a pool that cannot kill a handler at its time limit."""
    pool = str(current_app.conf.worker_pool)
    if pool.split(":", maxsplit=1)[0] in {"prefork", "processes", "celery.concurrency.prefork"}:
        return []
    return [
        Warning(
            f"worker_pool is {pool!r}, which cannot stop a handler at its time_limit.",
            hint="The attempt is given up then, but the handler goes on: let it call"
            " self.heartbeat(), or use the prefork pool.",
            id="sagas.W010",
        )
    ]


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


def _connection_reuse(alias: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    slow = "a new connection costs more than the whole transition"
    if not current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield Warning(
            f"CELERY_DB_REUSE_MAX is not set, so workers reconnect for every task; {slow}.",
            hint="Set CELERY_DB_REUSE_MAX = 1000 in the Django settings.",
            id="sagas.W007",
        )
    if database.get("CONN_MAX_AGE", 0) == 0:
        yield Warning(
            f"CONN_MAX_AGE of DATABASES[{alias!r}] is 0, so no connection is kept; {slow}.",
            hint=f'Set DATABASES[{alias!r}]["CONN_MAX_AGE"] = 600.',
            id="sagas.W008",
        )
    elif not database.get("CONN_HEALTH_CHECKS"):
        yield Warning(
            f"CONN_HEALTH_CHECKS of DATABASES[{alias!r}] is off: after a restart of the database"
            " the kept connections fail once each.",
            hint=f'Set DATABASES[{alias!r}]["CONN_HEALTH_CHECKS"] = True.',
            id="sagas.W009",
        )


def _longest_step() -> tuple[str, float]:
    """Return the place and the time limit, in seconds, of what may run longest."""
    return max(_time_limits(), key=lambda limit: limit[1], default=("", 0.0))


def _time_limits() -> Iterator[tuple[str, float]]:
    for saga in registry.all():
        for step in saga.definition.steps:
            options: Iterable[StepOptions] = [step.options]
            if step.compensation is not None:
                options = [step.options, step.compensation.options]
            yield step.place, max(option.time_limit for option in options)


def _dotted(saga: type) -> str:
    return f"{saga.__module__}.{saga.__qualname__}"
