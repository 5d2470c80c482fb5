"""What every Celery worker of a project does by itself: consume the sagas' queues, and sweep."""

import gc
import logging
import os
import threading
from typing import Any

from celery import bootsteps, current_app, signals
from django.db import connections

from sagas.checks.pools import CANNOT_STOP, problems_of_pool
from sagas.conf import saga_settings
from sagas.definitions import registry
from sagas.engine import leases, recover
from sagas.logs import process_name


logger = logging.getLogger("sagas.worker")


class ForkGate:
    """Lets no child be forked in the middle of a sweep, whose locks and sockets it would inherit.

    Nor does one inherit the connection that a sweep leaves to the next: it is closed before the fork.
    """

    def __init__(self) -> None:
        """Watch every fork of this process from now on."""
        self._lock = threading.Lock()
        self._left_open: Any = ()
        self._closed = False
        os.register_at_fork(
            before=self.shut, after_in_parent=self._open, after_in_child=self._replace
        )

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._closed:
            self._closed = False
            connections.close_all()

    def __exit__(self, *_: object) -> None:
        self._left_open = connections.all(initialized_only=True)
        self._open()

    def shut(self) -> None:
        """Wait for the sweep at hand, and close what it left open. The thread is another one."""
        # Bounded: a database that hangs must not keep the pool from replacing a dead child.
        if not self._lock.acquire(timeout=5):
            return
        for wrapper in self._left_open:
            if wrapper.connection is not None:
                wrapper.connection.close()
                self._closed = True
            if getattr(wrapper, "pool", None) is not None:
                # Or a child takes connections out of it that its parent uses as well.
                wrapper.close_pool()

    def _open(self) -> None:
        if self._lock.locked():
            self._lock.release()

    def _replace(self) -> None:
        self._lock = threading.Lock()


class _PoolChildren:
    """Notices children of the pool that died, before Celery does: it may take five seconds."""

    def __init__(self, pool: Any, hostname: str) -> None:
        self._pool = pool
        self._hostname = hostname
        self._living: set[int] = set()

    def give_up_dead(self) -> None:
        """Give up what a child that died since the last round was doing."""
        processes = getattr(getattr(self._pool, "_pool", None), "_pool", None) or []
        self._living |= {process.pid for process in list(processes) if process.pid}
        for pid in [pid for pid in self._living if _has_exited(pid)]:
            recover.give_up_attempts_of(process_name(self._hostname, pid))
            self._living.discard(pid)


def _has_exited(pid: int) -> bool:
    """Ask without reaping: that is for the pool to do."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class SweepStep(bootsteps.StartStopStep):
    """A thread of the worker's main process that sweeps about once a second.

    In the main process, because the pool's children may all be busy or hung when they are needed
    least. Children are never forked while a sweep is in the middle of a statement.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        """Celery makes one for each worker."""
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        """Begin to sweep."""
        tell_of_pool(parent.pool_cls, parent.concurrency)
        if not saga_settings().SWEEP_IN_WORKERS:
            return
        children = _PoolChildren(parent.pool, parent.hostname)
        self._thread = threading.Thread(
            target=recover.sweep_forever,
            args=(saga_settings().SWEEP_INTERVAL_SECONDS, self._stop),
            kwargs={"worker": parent.hostname, "gate": ForkGate(), "first": children.give_up_dead},
            name="saga-sweep",
            daemon=True,
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 the signature is Celery's
        """End, after the sweep at hand; a warm shutdown goes on meanwhile."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    terminate = stop


def queue_names() -> list[str]:
    """Return every queue that a saga of this project sends to."""
    conf = saga_settings()
    names = {conf.STEP_QUEUE, conf.COMPENSATION_QUEUE, conf.COORDINATOR_QUEUE}
    for saga in registry.all():
        for step in saga.definition.steps:
            names |= {
                step.options.queue or "",
                getattr(step.compensation, "options", step.options).queue or "",
            }
    return sorted(names - {""})


def consume_saga_queues(**_: Any) -> None:
    """Let a worker started without ``-Q`` consume the sagas' queues too."""
    queues = current_app.amqp.queues
    for name in queue_names():
        if name not in queues:
            # As whoever sends to it declares it: a broker refuses a second kind of one queue.
            queues.select_add(queues.new_missing(name))


def sweep_in_worker(instance: Any, **_: Any) -> None:
    """Add the sweep to a worker that is about to be built."""
    instance.app.steps["worker"].add(SweepStep)


def tell_of_pool(pool: Any, concurrency: int) -> None:
    """Say what ``manage.py check --deploy`` cannot: it does not see what follows ``-P`` and ``-c``."""
    for message in problems_of_pool(pool, concurrency):
        if message.id != CANNOT_STOP:
            facts = {"action": "pool_problem"}
            logger.log(message.level, "%s %s", message.msg, message.hint, extra=facts)


def look_after_discarded(name: str, id: str, **_: Any) -> None:  # noqa: A002 Celery's word
    """A message of ours was thrown away: in a rolling deploy this worker's code may be the old one."""
    if name.startswith("sagas."):
        recover.note_discarded(id)


def share_memory_with_children(**_: Any) -> None:
    """Keep what is loaded before the pool forks out of the garbage collector's way.

    Its passes would write to every object, and so copy every page, in each child.
    """
    if saga_settings().SHARE_WORKER_MEMORY:
        gc.collect()
        gc.freeze()


signals.worker_init.connect(share_memory_with_children, dispatch_uid="sagas.share_memory")
# Sent in the children of a prefork pool, which forks others, but also by a solo worker, of itself.
signals.worker_process_init.connect(
    leases.end_process_at_time_limit, dispatch_uid="sagas.end_process_at_time_limit"
)
signals.celeryd_init.connect(consume_saga_queues, dispatch_uid="sagas.consume_saga_queues")
signals.task_unknown.connect(look_after_discarded, dispatch_uid="sagas.look_after_discarded")
signals.celeryd_init.connect(sweep_in_worker, dispatch_uid="sagas.sweep_in_worker")
