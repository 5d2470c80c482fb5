"""Settings: one dict ``SAGAS`` in the Django settings, read when it is asked for.

Reading at call time is what lets ``override_settings(SAGAS=...)`` work in users' tests.
"""

from dataclasses import dataclass, fields
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from django.conf import settings as django_settings

from sagas.exceptions import SagaConfigurationError


MAX_EXECUTION_DURATION = timedelta(minutes=15)
"""The default and the cap of a saga's ``Meta.timeout``, unless it is ``long_running``."""

MAX_RETRY_COUNT = 10
"""How often a dead letter can be retried by hand."""

MAX_ERROR_LENGTH = 2048
"""Stored error text, in bytes of UTF-8."""


@dataclass(frozen=True, kw_only=True)
class SagaSettings:
    """What ``SAGAS`` may hold, with the defaults. The unit is in the name."""

    STEP_QUEUE: str = "saga.steps"
    """The queue of steps that name none."""

    COMPENSATION_QUEUE: str = "saga.compensate"
    """The queue of compensations that name none."""

    COORDINATOR_QUEUE: str = "saga.coordinator"
    """The queue of the callbacks, by which Celery tells how a step's task ended."""

    LEASE_SECONDS: float = 15.0
    """How long a claim lives without being renewed: the bound on noticing a dead machine."""

    LEASE_RENEWAL_SECONDS: float = 1.0
    """How often a process renews the leases of its handlers. Shorter steps cost no renewal."""

    SUSPECT_LEASE_SECONDS: float = 2.5
    """What the error callback leaves of a lease; a living process renews it within that."""

    SWEEP_INTERVAL_SECONDS: float = 1.0
    """Between two sweeps, whichever worker does them."""

    SWEEP_BATCH: int = 200
    """How many rows of one kind a sweep moves at most; the next one goes on."""

    SWEEP_IN_WORKERS: bool = True
    """Whether every Celery worker sweeps by itself; otherwise run ``manage.py saga sweep --loop``."""

    RESEND_SECONDS: float = 10.0
    """How long a message may be unclaimed before it is sent again; doubles with its age. One that is
    known to wait behind others in its queue is not."""

    RESEND_MAX_SECONDS: float = 60.0
    """The most that doubling comes to. Where the queue is empty nothing is waiting in it, so that
    the message is lost for sure, and the interval does not double."""

    PUBLISH_TIMEOUT_SECONDS: float = 2.0
    """Bound of each socket operation when a message is sent; a silent broker costs this at most twice."""

    BROKER_BACKOFF_SECONDS: float = 1.0
    """After a failed send this process sends nothing for so long, or for three times what the
    failure took, if that is longer."""

    IN_PLACE_STEPS: int = 100
    """How many steps one message may carry a worker through, so that a long saga shares its worker."""

    IN_PLACE_SECONDS: float = 1.0
    """How long after the first of them began the next step is sent by a message again."""

    SHARE_WORKER_MEMORY: bool = True
    """Whether a worker freezes what it has loaded (``gc.freeze``) before its pool forks: the children
    then share it instead of copying it, which saves about a fifth of a worker's memory."""

    POSTGRESQL_STATEMENTS: bool = True
    """On PostgreSQL: start, claim and success as one statement each, instead of by the ORM. The driver
    prepares them, except behind a pooler: one is known by ``DISABLE_SERVER_SIDE_CURSORS``, or noticed."""

    OPERATOR_LOCK_TIMEOUT_SECONDS: float = 5.0
    """How long an operator's verb waits for a saga that another transaction has locked."""

    MAX_PAYLOAD_BYTES: int = 256 * 1024
    """Of an input, a result or the tags, each as JSON."""

    MESSAGE_HEADERS: str = ""
    """Dotted path of a function ``(run, step) -> {name: text}``: more headers for the step's message, such
    as its tenant. In place one message carries several steps of its run."""

    BASE_URL: str = ""
    """What the addresses begin with that handlers give to outside parties, such as
    ``https://shop.example``; empty, they are paths."""

    REMOTE_RESULT_BACKEND: str = ""
    """URL of the result backend that the workers of remote tasks write to, where it is told why one
    failed. Empty: ``CELERY_RESULT_BACKEND``."""

    STORE_TASK_RESULTS: bool = False
    """Whether step tasks also write to Celery's result backend. Never read for correctness."""


_KNOWN = {field.name for field in fields(SagaSettings)}


def saga_settings() -> SagaSettings:
    """Return the settings as they are now.

    Raises:
        SagaConfigurationError: an unknown key or a value of the wrong type.
    """
    given: dict[str, Any] = getattr(django_settings, "SAGAS", {})
    cached = _cache.get(id(given))
    if cached is not None and cached[0] is given:
        return cached[1]
    parsed = _parse(given)
    _cache.clear()
    _cache[id(given)] = (given, parsed)
    return parsed


_cache: dict[int, tuple[dict[str, Any], SagaSettings]] = {}


def _parse(given: dict[str, Any]) -> SagaSettings:
    for key, value in given.items():
        if key not in _KNOWN:
            close = get_close_matches(key, _KNOWN, n=1)
            hint = (
                f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(_KNOWN))}."
            )
            raise SagaConfigurationError(f"SAGAS has an unknown key {key!r}.{hint}")
        default = getattr(SagaSettings, key)
        expected = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, expected) or (
            isinstance(value, bool) and not isinstance(default, bool)
        ):
            raise SagaConfigurationError(
                f"SAGAS[{key!r}] must be {type(default).__name__}, not {value!r}."
            )
    return SagaSettings(**given)
