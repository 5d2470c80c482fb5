"""A step row becomes a Celery message: only the next hop, only ids and a fence, only after commit.

The row is the outbox. A message that cannot be sent is no error: the step stays ready and the
sweep sends it. So nothing here raises, and nothing here waits longer than a bounded socket does.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import local
from typing import Any
from uuid import UUID

from amqp.exceptions import ChannelError
from celery import Celery, Signature, current_app
from django.db import transaction
from kombu import Connection
from kombu.pools import ProducerPool

from sagas.conf import saga_settings
from sagas.database import saga_database
from sagas.definitions import StepOptions
from sagas.models import SagaRun, StepRun


logger = logging.getLogger("sagas.dispatch")

STEP_SUCCEEDED = "sagas.step_succeeded"
STEP_FAILED = "sagas.step_failed"

BATCH = 200
"""How many messages are sent together, and lost together when their sending fails."""


def task_name(label: str, step: str, *, backward: bool) -> str:
    """Return the name of the Celery task that runs a step or its compensation."""
    return f"sagas.{label}.{step}.compensate" if backward else f"sagas.{label}.{step}"


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

    if messages:
        transaction.on_commit(send_messages, using=saga_database(), robust=True)


def send(run: SagaRun, step: StepRun) -> bool:
    """Send one message now; False when the broker did not take it. Must be after the commit."""
    return _publisher.publish(_message(run, step))


def is_empty(queue: str) -> bool:
    """Whether no message waits in a queue. False when the broker does not say."""
    return _publisher.is_empty(queue)


def queue_of(step: StepRun) -> str:
    """Return the queue that the step's messages go to."""
    conf = saga_settings()
    default = conf.COMPENSATION_QUEUE if step.is_backward else conf.STEP_QUEUE
    return StepOptions.from_snapshot(step.options).queue or default


def _message(run: SagaRun, step: StepRun) -> Signature[Any]:
    options = StepOptions.from_snapshot(step.options)
    conf = saga_settings()
    message = current_app.signature(
        task_name(run.label, step.name, backward=step.is_backward),
        args=(str(step.pk), step.fence),
        immutable=True,
        # The same message sent twice carries the same id, and makes one result row.
        task_id=f"{step.pk}-{step.fence}",
        queue=queue_of(step),
        headers={"saga_id": str(run.pk), "saga_step": step.name},
        ignore_result=not conf.STORE_TASK_RESULTS,
        # Each step's own limit is kept by its lease; this one covers all that follows in place.
        time_limit=options.time_limit + (conf.IN_PLACE_SECONDS if step.in_place else 0),
        soft_time_limit=options.soft_time_limit,
        **({} if options.priority is None else {"priority": options.priority}),
    )
    return message.on_error(_error_door(step.pk, step.fence + 1))


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
        self._queue: deque[Signature[Any]] = deque()
        self._sending = False

    def send(self, messages: Sequence[Signature[Any]]) -> None:
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


class _Publisher:
    """Publishes through producers whose sockets are bounded, whatever the project's settings say.

    By default a Redis that accepts and never answers blocks a publisher for ever. After a failure
    the process leaves sending to the sweep for a while, so that a dead broker costs one caller
    once, and not every caller each time.
    """

    def __init__(self) -> None:
        self._paused_until = 0.0
        self._forget_connections()
        os.register_at_fork(after_in_child=self._forget_connections)

    def _forget_connections(self) -> None:
        # Kept, not dropped: closing an inherited socket would shut it for the parent as well.
        self._inherited = getattr(self, "_pools", None)
        self._pools: dict[str, ProducerPool] = {}

    def publish(self, message: Signature[Any]) -> bool:
        """Send one message, or log why not. Returns whether the broker took it."""
        return self._try([message], self._publish)

    def publish_all(self, messages: Sequence[Signature[Any]]) -> None:
        """Send many through one producer, pipelined where the broker's transport can."""
        for first in range(0, len(messages), BATCH):
            self._try(messages[first : first + BATCH], self._publish_batch)

    def _try(self, messages: Sequence[Signature[Any]], publish: Callable[..., None]) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        began = time.monotonic()
        try:
            publish(*messages)
        except Exception:
            # The row is ready and the sweep sends: whoever committed must not fail here.
            now = time.monotonic()
            self._paused_until = now + max(saga_settings().BROKER_PAUSE_SECONDS, 3 * (now - began))
            logger.warning(
                "%d not sent, the sweep will: %s",
                len(messages),
                ", ".join(sorted({str(message.task) for message in messages})),
                exc_info=True,
                extra={"action": "send_failed"},
            )
            return False
        return True

    def _publish(self, message: Signature[Any]) -> None:
        app = current_app
        task = app.tasks.get(str(message.task))
        if app.conf.task_always_eager and task is not None:
            task.apply(message.args, task_id=message.options["task_id"])
            return
        with self._pool(app).acquire(block=True, timeout=1) as producer:
            message.apply_async(producer=producer, retry=True, retry_policy=_ONE_MORE_TRY)

    def _publish_batch(self, *messages: Signature[Any]) -> None:
        with self._pool(current_app).acquire(block=True, timeout=1) as producer:
            together: Any = producer  # whose stubs do not know batch()
            with together.batch(max_size=BATCH):
                for message in messages:
                    message.apply_async(producer=producer, retry=True, retry_policy=_ONE_MORE_TRY)

    def is_empty(self, queue: str) -> bool:
        """Ask the broker how many messages wait in a queue."""
        try:
            with self._pool(current_app).acquire(block=True, timeout=1) as producer:
                connection: Any = producer.connection
                with connection.channel() as channel:
                    return not channel.queue_declare(queue, passive=True).message_count
        except ChannelError:
            return True  # where nothing waits, a list of Redis does not exist
        except Exception:
            logger.debug("queue %s not asked", queue, exc_info=True)
            return False

    def _pool(self, app: Celery) -> ProducerPool:
        url = app.conf.broker_write_url
        if url not in self._pools:
            connection = _bounded_connection(app)
            self._pools[url] = ProducerPool(connection.Pool(limit=10), limit=10)
        return self._pools[url]


_ONE_MORE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def _bounded_connection(app: Celery) -> Connection:
    seconds = saga_settings().PUBLISH_TIMEOUT_SECONDS
    scheme = str(app.connection_for_write().transport_cls).split("+", maxsplit=1)[0]
    bounds: dict[str, float] = {}
    if scheme in {"redis", "rediss", "sentinel"}:
        bounds = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    elif scheme in {"amqp", "amqps", "pyamqp"}:
        bounds = {"read_timeout": seconds, "write_timeout": seconds}
    return app.connection_for_write(
        connect_timeout=seconds,
        transport_options={**bounds, **app.conf.broker_transport_options},
    )


_outbox = _Outbox()
_publisher = _Publisher()
