"""Messages reach the broker, or it is said why not. Nothing here raises or waits long.

By default a Redis that accepts and never answers blocks a publisher for ever, so the sockets of
these connections are bounded, whatever the project's settings say.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from amqp.exceptions import ChannelError, RecoverableConnectionError
from celery import Celery, current_app
from kombu import Connection
from kombu.pools import ProducerPool

from sagas.conf import saga_settings
from sagas.engine.broker_errors import BrokerBlocked, is_about_broker, is_about_channel
from sagas.engine.message import Message
from sagas.exceptions import RequestNotSent
from sagas.logs import Outage


logger = logging.getLogger("sagas.publishing")

BATCH = 200
"""How many messages are sent together, and lost together when their sending fails."""

TELL_AGAIN_SECONDS = 600.0
"""How often it is told of one kind of message that it cannot be sent."""

_SHOWN = 1024
"""So many characters of its arguments a message shows to whoever watches workers, as Celery does."""

_RETRY_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class Publisher:
    """Publishes from this process, and from its children after a fork.

    After a failure it leaves sending to the sweep for a while, so that a dead broker costs one
    caller once, and not every caller each time.
    """

    def __init__(self) -> None:
        self._paused_until = 0.0
        self._blocked = False
        self._outage = Outage(logger, "sending to the broker", "send")
        self._told: dict[tuple[str, str], float] = {}
        self._forget_connections()
        os.register_at_fork(after_in_child=self._forget_connections)

    def _forget_connections(self) -> None:
        # Kept, not dropped: closing an inherited socket would shut it for the parent as well.
        self._inherited = getattr(self, "_pools", None)
        self._pools: dict[str, ProducerPool] = {}

    def publish(self, message: Message) -> bool:
        """Send one message, or log why not. Returns whether the broker took it."""
        return self._try([message], self._publish_alone)

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Send many through one producer, pipelined where the broker's transport can."""
        for first in range(0, len(messages), BATCH):
            batch = messages[first : first + BATCH]
            if not self._try(batch, self._publish_batch, tells=False) and not self.is_paused():
                # One of them cannot be sent: it shall keep none of the others back.
                for message in batch:
                    self.publish(message)

    def publish_or_raise(self, message: Message) -> None:
        """Send one message, after a sign of life of the broker.

        Raises:
            RequestNotSent: it was not sent; or nobody knows, if that is ``in_doubt``.
        """
        if self.is_paused():
            raise RequestNotSent("the broker is away, or took nothing a moment ago", in_doubt=False)
        began = time.monotonic()
        in_doubt = False
        try:
            self._check_alarm()
            with self._pool(current_app).acquire(block=True, timeout=1) as producer:
                connection: Any = producer.connection
                queue = message.destination["queue"]
                is_there = connection.ensure(producer, _is_there, **_RETRY_ONCE)(producer, queue)
                in_doubt = True
                # It is declared by whoever consumes it, and may be of another type than ours are.
                _send_task(current_app, producer, message, declare=[] if is_there else None)
        except Exception as error:
            about_broker = is_about_broker(error)
            if about_broker:
                self._pause(error, began)
            text = f"{message.task} was not sent: {type(error).__name__}: {error}"
            raise RequestNotSent(text, in_doubt=in_doubt and about_broker) from error
        self._outage.over()

    def is_paused(self) -> bool:
        """Whether nothing is sent for a moment, because the broker is away or takes nothing."""
        return time.monotonic() < self._paused_until

    def _try(
        self, messages: Sequence[Message], publish: Callable[..., None], *, tells: bool = True
    ) -> bool:
        if self.is_paused():
            return False
        began = time.monotonic()
        try:
            publish(*messages)
        except Exception as error:  # noqa: BLE001 the row is ready, and whoever committed must not fail
            if is_about_broker(error):
                self._pause(error, began)
            elif tells:
                self._tell(messages[0], error)
            return False
        self._outage.over()
        return True

    def _pause(self, error: Exception, began: float) -> None:
        """Leave sending to the sweep for a while."""
        now = time.monotonic()
        self._paused_until = now + max(saga_settings().BROKER_BACKOFF_SECONDS, 3 * (now - began))
        self._outage.failed(error)

    def _tell(self, message: Message, error: Exception) -> None:
        """Say of a kind of message that it cannot be sent; not of each one of them."""
        kind = message.task, type(error).__name__
        facts = {"action": "message_refused"}
        text = " ".join(f"{kind[1]}: {error}".split())
        now = time.monotonic()
        if now - self._told.get(kind, -TELL_AGAIN_SECONDS) >= TELL_AGAIN_SECONDS:
            self._told[kind] = now
            logger.error(
                "a message of %s to queue %s cannot be sent: %s; its step stays ready and is tried"
                " again at intervals",
                message.task,
                message.destination.get("queue"),
                text,
                extra=facts,
            )
        logger.debug("message %s not sent", message.task_id, exc_info=error, extra=facts)

    def _publish_alone(self, message: Message) -> None:
        self._check_alarm()
        try:
            self._publish(message)
        except Exception as error:
            if not is_about_channel(error):
                raise
            # RabbitMQ closes a channel after the fact: the culprit may have been the one before.
            self._publish(message)
        self._check_alarm()

    def _publish(self, message: Message) -> None:
        app = current_app
        task = app.tasks.get(message.task)
        if app.conf.task_always_eager and task is not None:
            task.apply(tuple(message.args), task_id=message.task_id)
            return
        with self._pool(app).acquire(block=True, timeout=1) as producer:
            _send_task(app, producer, message)

    def _publish_batch(self, *messages: Message) -> None:
        self._check_alarm()
        with self._pool(current_app).acquire(block=True, timeout=1) as producer:
            together: Any = producer  # whose stubs do not know batch()
            with together.batch(max_size=BATCH):
                for message in messages:
                    _send_task(current_app, producer, message)
        self._check_alarm()

    def _check_alarm(self) -> None:
        """Raise an error as long as RabbitMQ takes nothing: what is written to it then only waits."""
        if not self._blocked:
            return
        with self._pool(current_app).acquire(block=True, timeout=1) as producer:
            connection: Any = producer.connection
            self._blocked = False  # a connection that is made anew is told anew
            try:
                connection.drain_events(timeout=0.05)
            except TimeoutError:
                self._blocked = True  # nothing is new
            except Exception:
                logger.debug("the alarm lasts, or the connection is lost", exc_info=True)
        if self._blocked:
            raise BrokerBlocked("the broker takes no messages until an alarm is over")

    def _block(self, reason: str) -> None:
        self._blocked = True
        # Else a publisher that waits for a confirmation would wait until its socket times out.
        raise RecoverableConnectionError(reason)

    def _unblock(self) -> None:
        self._blocked = False

    def is_empty(self, queue: str) -> bool:
        """Ask the broker how many messages wait in a queue."""
        if self.is_paused():
            return False
        began = time.monotonic()
        try:
            with self._pool(current_app).acquire(block=True, timeout=1) as producer:
                connection: Any = producer.connection
                with connection.channel() as channel:
                    return not channel.queue_declare(queue, passive=True).message_count
        except ChannelError:
            return True  # where nothing waits, a list of Redis does not exist
        except Exception as error:
            if is_about_broker(error):
                self._pause(error, began)
            logger.debug("queue %s not asked", queue, exc_info=True)
            return False

    def _pool(self, app: Celery) -> ProducerPool:
        url = app.conf.broker_write_url
        if url not in self._pools:
            alarms: dict[str, Callable[..., None]] = {
                "on_blocked": self._block,
                "on_unblocked": self._unblock,
            }
            connection = bounded_connection(app, alarms)
            self._pools[url] = ProducerPool(connection.Pool(limit=10), limit=10)
        return self._pools[url]


def _send_task(
    app: Any, producer: Any, message: Message, declare: Sequence[Any] | None = None
) -> None:
    """Send what ``Task.apply_async()`` would, for half of its price.

    The same parts of Celery make and route it, and the same signals are sent; left out is what it
    works out anew for each message: the task's execution options, and the text of the arguments.
    """
    parent = app.current_worker_task
    task_message = app.amqp.create_task_message(
        message.task_id,
        message.task,
        message.args,
        message.kwargs,
        callbacks=message.callback and [message.callback],
        errbacks=[message.error_callback],
        reply_to=app.thread_oid,
        time_limit=message.time_limit,
        soft_time_limit=message.soft_time_limit,
        expires=message.expires,
        create_sent_event=app.conf.task_send_sent_event,
        root_id=parent and (parent.request.root_id or parent.request.id),
        parent_id=parent and parent.request.id,
        argsrepr=repr(message.args)[:_SHOWN],
        kwargsrepr=repr({**message.kwargs})[:_SHOWN],
        ignore_result=message.ignore_result,
    )
    app.amqp.send_task_message(
        producer,
        message.task,
        task_message,
        headers=message.headers(),
        retry=True,
        retry_policy=_RETRY_ONCE,
        serializer=message.serializer,
        declare=declare,
        **app.amqp.router.route(
            {**message.destination}, message.task, message.args, message.kwargs
        ),
    )


def _is_there(producer: Any, queue: str) -> bool:
    """Ask the broker for a queue, and see that it answers; a list of Redis is there when it is not empty."""
    connection = producer.connection
    connection.ensure_connection(**_RETRY_ONCE)
    with connection.channel() as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except ChannelError:
            return False
    return True


def bounded_connection(
    app: Celery, alarms: Mapping[str, Callable[..., None]] = MappingProxyType({})
) -> Connection:
    """Return a connection to the broker whose socket operations are bounded."""
    seconds = saga_settings().PUBLISH_TIMEOUT_SECONDS
    scheme = str(app.connection_for_write().transport_cls).split("+", maxsplit=1)[0]
    bounds: dict[str, Any] = {}
    if scheme in {"redis", "rediss", "sentinel"}:
        bounds = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    elif scheme in {"amqp", "amqps", "pyamqp"}:
        bounds = {"read_timeout": seconds, "write_timeout": seconds, **alarms}
    return app.connection_for_write(
        connect_timeout=seconds,
        transport_options={**bounds, **app.conf.broker_transport_options},
    )
