"""Every id that a check may give, once: ``E`` is an error, ``W`` a warning. A new one takes the next free number.

``docs/reference/checks.md`` is written from here. Those of a declaration are given by
:mod:`sagas.definitions`, which ``start_saga()`` asks as well.
"""

from collections.abc import Mapping
from types import MappingProxyType


ALWAYS: Mapping[str, str] = MappingProxyType(
    {
        "sagas.E001": "`SAGAS` has an unknown key, or a value of the wrong type.",
        "sagas.E002": "Two sagas have one label, so a row could not say which of them it is.",
        "sagas.E003": "Steps wait for each other in a circle.",
        "sagas.E004": "A pivot comes after another one on the same path.",
        "sagas.E005": "The pivot, or a step behind it, has a compensation, which never runs.",
        "sagas.E006": "The type of an input or a result cannot be stored as JSON.",
        "sagas.E007": "A compensation takes another type than its step returns.",
        "sagas.E008": "A saga has no steps, or waits for none of them.",
        "sagas.E009": "A template of `Meta.key` or `Meta.tags` names what the input does not have.",
        "sagas.E010": "A step before the pivot does not say how it is undone.",
        "sagas.E012": "A step with a `reconcile` may return None, which means there that it did not happen.",
        "sagas.E013": "A limit of a step is longer than its whole saga may take.",
        "sagas.E014": "A lease is shorter than two renewals, so living attempts would be given up.",
        "sagas.E015": "An atomic step raises `Wait`, which would roll back what it wrote.",
        "sagas.E016": "`compensable_until` names no later step that is waited for, or its step has no compensation.",
        "sagas.E017": "The pivot has a condition, so the saga might go on without it.",
        "sagas.E020": "The sagas' tables are in the schemas of tenants, where no worker looks.",
        "sagas.E021": "`SAGAS['MESSAGE_HEADERS']` names no function.",
        "sagas.E025": "A step takes an input that nothing gives it.",
        "sagas.W020": "This process has no Celery application of the project, so messages go astray.",
    }
)
"""``manage.py check``."""

DEPLOY: Mapping[str, str] = MappingProxyType(
    {
        "sagas.E011": "`CELERY_TASK_ALWAYS_EAGER` is on: steps would run inside the request.",
        "sagas.E018": "A step goes to a queue that is not declared, and missing ones are not made.",
        "sagas.E019": "Django's pool and `CONN_MAX_AGE` are both set, which Django refuses.",
        "sagas.E022": "The pool eventlet is not supported.",
        "sagas.E023": "Django's pool is set, and psycopg_pool is not installed.",
        "sagas.E024": "`CELERY_DB_REUSE_MAX` with gevent leaves a connection open for each task.",
        "sagas.W001": "The sagas are in SQLite: one writer at a time, one machine.",
        "sagas.W002": "The broker forgets what a killed worker held.",
        "sagas.W003": "`CELERY_TASK_REJECT_ON_WORKER_LOST` silences the callback of a killed process.",
        "sagas.W004": "Sockets to Redis are not bounded: a mute one blocks whoever sends.",
        "sagas.W005": "Redis delivers a message again while its step still runs.",
        "sagas.W006": "Workers accept more than JSON.",
        "sagas.W007": "Workers reconnect to the database for every task.",
        "sagas.W008": "No connection to the database is kept.",
        "sagas.W009": "Kept connections are not checked, so each fails once after a restart.",
        "sagas.W010": "The pool cannot stop a handler at its `time_limit`.",
        "sagas.W011": "Django's pool is set for a worker that shares it with nobody.",
        "sagas.W012": "`CELERY_DB_REUSE_MAX` keeps connections away from Django's pool.",
        "sagas.W013": "Greenlets without Django's pool open a connection for each task.",
        "sagas.W014": "Fewer connections to Redis are allowed than tasks may acknowledge at once.",
        "sagas.W016": "`isolation_level` is above READ COMMITTED, so transactions of yours may have to be tried again.",
    }
)
"""``manage.py check --deploy``, besides. A worker says what is about its own pool at its start."""
