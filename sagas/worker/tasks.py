"""The Celery tasks: one for each step and each compensation, two callbacks, one sweep. All thin.

Every one is bound: Celery runs an unbound error callback of two arguments inside the worker's main
process, where it would block the worker and leak a database connection into its children.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from celery import Task, shared_task, signals

from sagas.definitions import SagaDefinition, StepOptions, registry
from sagas.engine import dispatch, execute, pooling, recover, remote_calls, soft_limit
from sagas.engine.database import skip_health_check
from sagas.exceptions import NewerVersion, TransactionLocked, UnknownHandler, UnknownSaga
from sagas.logs import process_name
from sagas.remote_tasks import task_failed, task_succeeded


HEAR_AGAIN, HEAR_AGAIN_SECONDS = 120, 5
"""How often, and after how many seconds, an answer is taken up once more: for ten minutes in all."""


@shared_task(bind=True, name=dispatch.STEP_SUCCEEDED, ignore_result=True, acks_late=True)
def step_succeeded(task: "Task[Any, Any]", step_run_id: str, fence: int) -> bool:  # noqa: ARG001
    """Success callback: look at the row, and send again what should be on its way."""
    with pooling.of_a_task():
        return recover.resend(UUID(step_run_id))


@shared_task(bind=True, name=dispatch.STEP_FAILED, ignore_result=True, acks_late=True)
def step_failed(task: "Task[Any, Any]", step_run_id: str, fence: int) -> bool:  # noqa: ARG001
    """Error callback: a hint that an attempt may be dead, never evidence. The lease will tell."""
    with pooling.of_a_task():
        return recover.suspect(UUID(step_run_id), fence)


@shared_task(bind=True, name=remote_calls.REMOTE_SUCCEEDED, ignore_result=True, acks_late=True)
def remote_succeeded(task: "Task[Any, Any]", result: object, step_run_id: str, fence: int) -> str:
    """Success callback of a remote task: its result is the step's."""
    return _heard(task, partial(task_succeeded, UUID(step_run_id), int(fence), result))


@shared_task(bind=True, name=remote_calls.REMOTE_FAILED, ignore_result=True, acks_late=True)
def remote_failed(task: "Task[Any, Any]", step_run_id: str, fence: int) -> str:
    """Error callback of a remote task: whether it failed or was lost, the result backend may know."""
    return _heard(task, partial(task_failed, UUID(step_run_id), int(fence)))


def _heard(task: "Task[Any, Any]", record: Callable[[], str]) -> str:
    """Record an answer, which nobody tells again: later or elsewhere, if it cannot be here and now."""
    try:
        with pooling.of_a_task():
            return execute.retry_on_lost_connection(record, execute.OUTCOME_RECONNECT_DELAYS)
    except (UnknownSaga, UnknownHandler, NewerVersion, TransactionLocked) as error:
        raise task.retry(exc=error, countdown=HEAR_AGAIN_SECONDS, max_retries=HEAR_AGAIN) from None


@shared_task(bind=True, name="sagas.sweep", ignore_result=True, acks_late=True)
def sweep(task: "Task[Any, Any]") -> int:
    """Sweep once, for projects that prefer beat to the sweep inside every worker."""
    with pooling.of_a_task():
        return recover.sweep(worker=task.request.hostname or "beat").total


def register_step_tasks(definition: SagaDefinition) -> None:
    """Give each step and each compensation of a saga its task, by every name that rows know it by."""
    for step in definition.steps:
        for known_as in (step.name, *step.formerly):
            name = dispatch.task_name(definition.label, known_as, backward=False)
            _register(name, step.options, step.handler.__doc__)
            if step.compensation is not None:
                name = dispatch.task_name(definition.label, known_as, backward=True)
                _register(name, step.compensation.options, step.compensation.handler.__doc__)


def _register(name: str, options: StepOptions, doc: str | None) -> None:
    limits: dict[str, Any] = {
        "rate_limit": options.rate_limit,
        "time_limit": options.time_limit,
        "soft_time_limit": options.soft_time_limit,
    }

    @shared_task(bind=True, name=name, acks_late=True, **limits)
    def run_step(task: "Task[Any, Any]", step_run_id: str, fence: int) -> str:
        request = task.request
        # The message's own, CELERY_TASK_SOFT_TIME_LIMIT or the worker's --soft-time-limit: each is of
        # all that the message carries.
        of_message = (request.timelimit or (None, None))[1]
        soft = of_message or task.soft_time_limit or soft_limit.limit_of_pool()
        with soft_limit.only_in_handlers(soft), pooling.of_a_task():
            skip_health_check()
            worker = process_name(request.hostname or "", os.getpid())
            return execute.execute(
                UUID(step_run_id),
                fence,
                task_id=request.id or "",
                worker=worker,
                in_place=soft is None,
            )

    run_step.__doc__ = doc


def know_limit_of_pool(options: dict[str, Any], **_: Any) -> None:
    """Hear of ``celery worker --soft-time-limit``."""
    soft_limit.know_limit_of_pool(options.get("soft_time_limit"))


def register_all() -> None:
    """Register the tasks of every saga declared so far."""
    for saga in registry.all():
        register_step_tasks(saga.definition)


signals.celeryd_init.connect(know_limit_of_pool, dispatch_uid="sagas.know_limit_of_pool")
