"""The hot transitions as one PostgreSQL statement each, prepared once per connection.

The portable form of each, named at the top of its ``.sql`` file, stays the specification: a test
runs both and compares every row and event. What is not the common case is left to it.
"""

import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections, models

from sagas.conf import saga_settings
from sagas.engine.database import saga_database
from sagas.engine.transitions.events import EventLog
from sagas.engine.transitions.postgresql.statement import Statement
from sagas.engine.transitions.values import Claimant, Succession
from sagas.models import SagaRun, StepRun
from sagas.states import (
    ATTEMPTED_STEPS,
    MAY_HAVE_HAPPENED,
    Direction,
    EventType,
    SagaState,
    StepState,
)


ModelT = TypeVar("ModelT", bound=models.Model)


def _in_order(model: type[models.Model], *names: str) -> tuple[str, ...]:
    """Return the columns in the order of the model: ``from_db`` takes values in no other."""
    order = [column.attname for column in model._meta.concrete_fields]  # noqa: SLF001 documented
    return tuple(sorted(names, key=order.index))


STEP_COLUMNS = _in_order(
    StepRun,
    *("id", "run_id", "name", "direction", "position", "handler", "state", "successors"),
    *("in_place", "pivot", "critical", "options", "fence", "attempt", "in_doubt"),
    *(
        "reconcile_attempts",
        "prepared",
        "detached",
        "rewind",
        "sends",
        "lease_until",
        "timeout",
        "expires_at",
    ),
    *("input", "heartbeat", "worker", "idempotency_key", "error_code", "error", "started_at"),
)
RUN_COLUMNS = _in_order(
    SagaRun,
    *("id", "label", "version", "key", "state", "pivot_passed", "has_warnings", "input"),
    *(
        "parent_step_id",
        "options",
        "failed_step",
        "error_code",
        "error",
        "deadline",
        "paused_at",
        "created_at",
    ),
)
_JSON = frozenset({"successors", "options", "heartbeat", "input"})


def _columns(table: str, names: Sequence[str]) -> str:
    return ", ".join(f"{table}.{name} AS {table}_{name}" for name in names)


def _words(states: Collection[StepState]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


_CLAIM = Statement(
    "claim", step_columns=_columns("step", STEP_COLUMNS), run_columns=_columns("run", RUN_COLUMNS)
)
_SUCCEED = Statement(
    "succeed",
    step_columns=_columns("step", STEP_COLUMNS),
    may_have_happened=_words(MAY_HAVE_HAPPENED),
    attempted=_words(ATTEMPTED_STEPS),
    opens="step.pending_predecessors = 1 AND step.state = 'pending'",
)
_RENEW = Statement("renew")


def in_use() -> bool:
    """Whether the sagas' database is PostgreSQL, and nobody asked for the portable form."""
    is_postgresql = connections[saga_database()].vendor == "postgresql"
    return is_postgresql and saga_settings().POSTGRESQL_STATEMENTS


def claim(step_id: UUID, fence: int, *, task_id: str, worker: str) -> StepRun | None:
    """Start an attempt, as :func:`sagas.engine.transitions.claim` describes."""
    lease = timedelta(seconds=saga_settings().LEASE_SECONDS)
    for row in _CLAIM.run(step_id, fence, task_id, worker, lease):
        step = _loaded(StepRun, STEP_COLUMNS, row)
        step.run = _loaded(SagaRun, RUN_COLUMNS, row[len(STEP_COLUMNS) :])
        event_log = EventLog()
        event_log.record_step(
            EventType.STEP_CLAIMED, step, StepState.READY, StepState.RUNNING, worker
        )
        event_log.log()
        return step
    return None


def succeed(step: StepRun, output: object, claimant: Claimant | None) -> Succession | None:
    """Record that a step succeeded, and what follows; None leaves it to the portable form."""
    conf = saga_settings()
    who = (claimant.task_id, claimant.worker) if claimant else (None, None)
    rows = _SUCCEED.run(
        step.run_id,
        step.pk,
        step.fence,
        None if output is None else json.dumps(output),
        timedelta(seconds=conf.RESEND_SECONDS),
        *who,
        timedelta(seconds=conf.LEASE_SECONDS),
    )
    if not rows:
        return None
    ((run_state, undone_from, goes_on, *columns),) = rows
    event_log = EventLog()
    event_log.record_step(EventType.STEP_SUCCEEDED, step, StepState.RUNNING, StepState.SUCCEEDED)
    if undone_from:
        undone = StepRun(run_id=step.run_id, name=step.name, direction=Direction.FORWARD)
        event_log.record_step(
            EventType.STEP_COMPENSATED, undone, undone_from, StepState.COMPENSATED
        )
    following = Succession()
    if goes_on:
        following = _follow(_loaded(StepRun, STEP_COLUMNS, columns), step.run, event_log)
    if run_state == SagaState.COMPLETED:
        event_log.record_run(EventType.COMPLETED, step.run, SagaState.RUNNING, SagaState.COMPLETED)
    event_log.log()
    return following


def renew(held: Collection[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    """Extend leases, as :func:`sagas.engine.transitions.renew_leases` describes; return those extended."""
    lease = timedelta(seconds=saga_settings().LEASE_SECONDS)
    steps = [str(step_id) for step_id, _ in held]
    return {*_RENEW.run_once(steps, [fence for _, fence in held], lease)}


def _follow(step: StepRun, run: SagaRun, event_log: EventLog) -> Succession:
    step.run = run
    if step.state == StepState.RUNNING:
        event_log.record_step(
            EventType.STEP_CLAIMED, step, StepState.PENDING, StepState.RUNNING, step.worker
        )
        return Succession(taken=step)
    event_log.record_step(EventType.STEP_READY, step, StepState.PENDING, StepState.READY)
    return Succession(ready=step)


def _loaded(model: type[ModelT], names: Sequence[str], row: Sequence[Any]) -> ModelT:
    """Return an instance with these columns; the others are fetched when somebody asks for them."""
    values = [
        json.loads(value) if name in _JSON and value is not None else value
        for name, value in zip(names, row, strict=False)
    ]
    return model.from_db(saga_database(), names, values)
