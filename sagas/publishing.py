"""Messages reach the broker, or it is said why not. Nothing here raises or waits long.

By default a Redis that accepts and never answers blocks a publisher for ever, so the sockets of
these connections are bounded, whatever the project's settings say.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import ChannelError
from celery import Celery, Signature, current_app
from kombu import Connection
from kombu.pools import ProducerPool

from sagas.conf import saga_settings


logger = logging.getLogger("sagas.publishing")

BATCH = 200
"""How many messages are sent together, and lost together when their sending fails."""

_ONE_MORE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What asks a worker for one attempt of one step."""

    task: str
    args: tuple[str, int]
    task_id: str
    """The same message sent twice carries the same id, and makes one result row."""

    error_door: Signature[Any]
    destination: dict[str, Any]
    headers: dict[str, str]
    time_limit: float | None
    soft_time_limit: float | None
    ignore_result: bool


class Publisher:
    """Publishes from this process, and from its children after a fork.

    After a failure it leaves sending to the sweep for a while, so that a dead broker costs one
    caller once, and not every caller each time.
    """

    def __init__(self) -> None:
        self._paused_until = 0.0
        self._forget_connections()
        os.register_at_fork(after_in_child=self._forget_connections)

    def _forget_connections(self) -> None:
        # Kept, not dropped: closing an inherited socket would shut it for the parent as well.
        self._inherited = getattr(self, "_pools", None)
        self._pools: dict[str, ProducerPool] = {}

    def publish(self, message: Message) -> bool:
        """Send one message, or log why not. Returns whether the broker took it."""
        return self._try([message], self._publish)

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Send many through one producer, pipelined where the broker's transport can."""
        for first in range(0, len(messages), BATCH):
            self._try(messages[first : first + BATCH], self._publish_batch)

    def _try(self, messages: Sequence[Message], publish: Callable[..., None]) -> bool:
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
                ", ".join(sorted({message.task for message in messages})),
                exc_info=True,
                extra={"action": "send_failed"},
            )
            return False
        return True

    def _publish(self, message: Message) -> None:
        app = current_app
        task = app.tasks.get(message.task)
        if app.conf.task_always_eager and task is not None:
            task.apply(message.args, task_id=message.task_id)
            return
        with self._pool(app).acquire(block=True, timeout=1) as producer:
            _send_task(app, producer, message)

    def _publish_batch(self, *messages: Message) -> None:
        with self._pool(current_app).acquire(block=True, timeout=1) as producer:
            together: Any = producer  # whose stubs do not know batch()
            with together.batch(max_size=BATCH):
                for message in messages:
                    _send_task(current_app, producer, message)

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


def _send_task(app: Any, producer: Any, message: Message) -> None:
    """Send what ``Task.apply_async()`` would, for half of its price.

    The same parts of Celery make and route it, and the same signals are sent; left out is what it
    works out anew for each message: the task's execution options, and the text of the arguments.
    """
    parent = app.current_worker_task
    task_message = app.amqp.create_task_message(
        message.task_id,
        message.task,
        message.args,
        {},
        errbacks=[message.error_door],
        reply_to=app.thread_oid,
        time_limit=message.time_limit,
        soft_time_limit=message.soft_time_limit,
        create_sent_event=app.conf.task_send_sent_event,
        root_id=parent and (parent.request.root_id or parent.request.id),
        parent_id=parent and parent.request.id,
        argsrepr=repr(message.args),
        kwargsrepr="{}",
        ignore_result=message.ignore_result,
    )
    app.amqp.send_task_message(
        producer,
        message.task,
        task_message,
        headers=message.headers,
        retry=True,
        retry_policy=_ONE_MORE_TRY,
        **app.amqp.router.route(message.destination, message.task, message.args, {}),
    )


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
