"""A step row becomes a Celery message: only the next hop, only ids and a fence, only after commit.

The row is the outbox. A message that cannot be sent is no error: the step stays ready and the
sweep sends it. So nothing here raises, and nothing here waits longer than a bounded socket does.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import local
from typing import Any
from uuid import UUID

from celery import Signature, current_app
from django.db import transaction

from sagas.conf import saga_settings
from sagas.definitions import StoredOptions
from sagas.engine.database import OUTCOME_SECONDS, saga_database
from sagas.engine.declared import definition_of
from sagas.engine.headers import headers_of
from sagas.engine.message import Message
from sagas.engine.publishing import Publisher
from sagas.exceptions import UnknownHandler, UnknownSaga
from sagas.models import SagaRun, StepRun


STEP_SUCCEEDED = "sagas.step_succeeded"
STEP_FAILED = "sagas.step_failed"


_is_silent = ContextVar("sagas_dispatch_is_silent", default=False)


@contextmanager
def nothing_is_sent() -> Iterator[None]:
    """Let what happens inside send no message, at its commits neither, however late those come."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


def task_name(label: str, step: str, *, backward: bool) -> str:
    """Return the name of the Celery task that runs a step or its compensation."""
    return f"sagas.{label}.{step}.compensate" if backward else f"sagas.{label}.{step}"


def _task_of(run: SagaRun, step: StepRun) -> str:
    return task_name(step.plan.saga or run.label, step.declared, backward=step.is_backward)


def send_on_commit(run: SagaRun, steps: Iterable[StepRun]) -> None:
    """Send the messages of ``steps`` when the current transaction has committed."""
    send_all_on_commit([(run, steps)])


def send_all_on_commit(starts: Iterable[tuple[SagaRun, Iterable[StepRun]]]) -> None:
    """Do the same for the steps of many runs."""
    messages = [
        _message(run, step) for run, steps in starts if run.paused_at is None for step in steps
    ]

    # Django names a failed robust hook by its __qualname__, which a partial has not.
    def send_messages() -> None:
        _outbox.send(messages)

    if messages and not _is_silent.get():
        transaction.on_commit(send_messages, using=saga_database(), robust=True)


def sends_nothing() -> bool:
    """Whether :func:`nothing_is_sent` holds here."""
    return _is_silent.get()


def send_or_raise(message: Message) -> None:
    """Send a message to whoever it is for, now.

    Raises:
        RequestNotSent: it was not sent; or nobody knows, if that is ``in_doubt``.
    """
    _publisher.publish_or_raise(message)


def send(run: SagaRun, step: StepRun) -> bool:
    """Send one message now; False when the broker did not take it. Must be after the commit."""
    return _is_silent.get() or _publisher.publish(_message(run, step))


def is_empty(queue: str) -> bool:
    """Whether no message waits in a queue. False when the broker does not say."""
    return _publisher.is_empty(queue)


def is_paused() -> bool:
    """Whether this process sends nothing for a moment, because the broker is away or refuses."""
    return _publisher.is_paused()


def queue_of(step: StepRun) -> str:
    """Return the queue that the step's messages go to."""
    return _queue(step, options_of(step.run, step))


def options_of(run: SagaRun, step: StepRun) -> StoredOptions:
    """Return how a step is sent: as today's code says, or as its row does where the code is gone.

    A deploy may have renamed a queue, and workers consume those of their own code.
    """
    try:
        declared = definition_of(run, step)
    except (UnknownSaga, UnknownHandler):
        return step.plan
    if not step.is_backward:
        return declared.options
    if declared.compensation is None:
        return step.plan
    return declared.compensation.options


Line = tuple[str, int | None, str]
"""Messages that are given out in the order in which they were sent: queue, priority, and the task, if
workers keep its messages back to limit its rate."""


def line_of(step: StepRun) -> Line:
    """Return where the step's messages queue."""
    options = options_of(step.run, step)
    task = _task_of(step.run, step)
    return _queue(step, options), options.priority, task if options.rate_limit else ""


def came_from(claimed: StepRun) -> Line | None:
    """Return where the message queued that ``sent_at`` of a claimed step tells of.

    None when the claim was by an older message, or a deploy moved the step to another queue.
    """
    by_last = claimed.sends <= 1 or claimed.task_id == _task_id(claimed, claimed.fence - 1)
    moved = _queue(claimed, claimed.plan) != queue_of(claimed)
    return line_of(claimed) if by_last and not moved else None


def _queue(step: StepRun, options: StoredOptions) -> str:
    conf = saga_settings()
    return options.queue or (conf.COMPENSATION_QUEUE if step.is_backward else conf.STEP_QUEUE)


def _task_id(step: StepRun, fence: int) -> str:
    """No two messages have one id: workers go on to discard one that was revoked."""
    return f"{step.pk}-{fence}-{step.sends}"


def sent_as(task_id: str) -> tuple[UUID, int, int] | None:
    """Return the step, the fence and the number of the send that a task id of ours names."""
    try:
        step_id, fence, sends = task_id.rsplit("-", 2)
        return UUID(step_id), int(fence), int(sends)
    except ValueError:
        return None


def _message(run: SagaRun, step: StepRun) -> Message:
    today = options_of(run, step)
    conf = saga_settings()
    destination: dict[str, Any] = {"queue": _queue(step, today)}
    if today.priority is not None:
        destination["priority"] = today.priority
    return Message(
        task=_task_of(run, step),
        args=(str(step.pk), step.fence),
        task_id=_task_id(step, step.fence),
        error_callback=_error_door(step.pk, step.fence + 1),
        destination=destination,
        headers=partial(headers_of, run, step),
        # Each step's own limit is kept by its lease, and ends with its handler; this one covers all
        # that follows in place, and an outcome that waits for the database.
        time_limit=step.plan.time_limit
        + (conf.IN_PLACE_SECONDS if step.in_place else 0)
        + 2 * OUTCOME_SECONDS,
        soft_time_limit=step.plan.soft_time_limit,
        ignore_result=not conf.STORE_TASK_RESULTS,
    )


def _error_door(step_id: UUID, fence: int) -> Signature[Any]:
    """The error callback of the attempt that a message starts: the claim raises the fence by one."""
    return current_app.signature(
        STEP_FAILED,
        args=(str(step_id), fence),
        immutable=True,
        queue=saga_settings().COORDINATOR_QUEUE,
    )


class _Outbox(local):
    """Sends what this thread committed, in order, one at a time.

    With eager tasks a send runs the next step, which commits and sends: the queue makes a loop of
    what would be a recursion as deep as the saga is long.
    """

    def __init__(self) -> None:
        self._queue: deque[Message] = deque()
        self._sending = False

    def send(self, messages: Sequence[Message]) -> None:
        self._queue.extend(messages)
        if self._sending:
            return
        self._sending = True
        try:
            while self._queue:
                if len(self._queue) == 1 or current_app.conf.task_always_eager:
                    _publisher.publish(self._queue.popleft())
                else:
                    many = [*self._queue]
                    self._queue.clear()
                    _publisher.publish_all(many)
        finally:
            self._queue.clear()
            self._sending = False


_outbox = _Outbox()
_publisher = Publisher()
