"""A remote step asks: the task of another code base is sent, and the step waits for its link.

The message has nothing of ours but the arguments, the idempotency key in a header, and the two
callbacks, which name the request by step and fence.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any
from uuid import UUID

from celery import Signature, current_app

from sagas.conf import saga_settings
from sagas.definitions import RemoteTask
from sagas.engine import dispatch
from sagas.engine.message import Message
from sagas.exceptions import Wait
from sagas.models import StepRun
from sagas.payloads import truncate_error


REMOTE_SUCCEEDED = "sagas.remote_succeeded"
REMOTE_FAILED = "sagas.remote_failed"

KEY_HEADER = "saga_idempotency_key"

StandIn = Callable[..., Any]

_stand_ins: ContextVar[Mapping[str, StandIn] | None] = ContextVar(
    "sagas_remote_stand_ins", default=None
)


class RemoteWait(Wait):
    """The request was sent; the callbacks of the task end the wait."""


@contextmanager
def answered_by(stand_ins: Mapping[str, StandIn]) -> Iterator[None]:
    """Have functions of this process do, by the names of tasks, what other code bases would.

    They are called with the arguments as JSON data, and what they return or raise is the outcome of
    the attempt: there is no wait, and nothing is sent::

        with remote_tasks({"payments.tasks.charge": lambda order: {"id": f"p-{order}"}}):
            run = run_saga(start_saga(FulfilOrder, order))
    """
    token = _stand_ins.set({**(_stand_ins.get() or {}), **stand_ins})
    try:
        yield
    finally:
        _stand_ins.reset(token)


def call(step: StepRun, task: RemoteTask, arguments: object) -> Any:
    """Ask ``task`` to do a step; return what a stand-in says, if there is one.

    Raises:
        RemoteWait: it was asked, and answers within the step's ``time_limit``.
        RequestNotSent: the broker did not take it, or nobody knows whether it did.
        PayloadError: the arguments cannot be sent.
    """
    args, kwargs = task.arguments(arguments)
    stand_in = (_stand_ins.get() or {}).get(task.name)
    if stand_in is not None:
        return stand_in(*args, **kwargs)
    if not dispatch.sends_nothing():
        dispatch.send_or_raise(_message(step, task, args, kwargs))
    raise RemoteWait(truncate_error(f"{task.name} on {task.queue}"), timeout=step.plan.time_limit)


def task_id_of(step_id: UUID, fence: int) -> str:
    """Return the id of the task that a request sends: each has its own, whichever it is of its step."""
    return f"remote-{step_id}-{fence}"


def _message(step: StepRun, task: RemoteTask, args: list[Any], kwargs: dict[str, Any]) -> Message:
    destination: dict[str, Any] = {"queue": task.queue}
    if task.priority is not None:
        destination["priority"] = task.priority
    callback = partial(_callback, step_id=step.pk, fence=step.fence)
    return Message(
        task=task.name,
        args=args,
        kwargs=kwargs,
        task_id=task_id_of(step.pk, step.fence),
        callback=callback(REMOTE_SUCCEEDED, immutable=False),
        error_callback=callback(REMOTE_FAILED, immutable=True),
        destination=destination,
        headers=lambda: {KEY_HEADER: step.idempotency_key},
        serializer="json",
        # Nobody waits for it any more then.
        expires=step.plan.time_limit,
        ignore_result=None,
    )


def _callback(name: str, *, step_id: UUID, fence: int, immutable: bool) -> Signature[Any]:
    """The result, which the other worker puts before the arguments, is not shown to who watches workers."""
    return current_app.signature(
        name,
        args=(str(step_id), fence),
        immutable=immutable,
        queue=saga_settings().COORDINATOR_QUEUE,
        serializer="json",
        # The coordinator's workers have declared it, maybe of another type than the other side's are.
        declare=[],
        argsrepr=f"(..., {str(step_id)!r}, {fence})",
    )
