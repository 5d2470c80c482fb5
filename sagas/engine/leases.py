"""The lease of a running step, kept alive by one small thread per process.

A claim lives a few seconds only, so a killed child, worker or machine is known soon, however long
the step may take. A living process renews its leases once in a while; a step that is shorter than
that costs no renewal. Renewal ends at the step's ``time_limit``, so that a handler that hangs is
given up as well, on pools that cannot kill it. The limits are those of the handler: they end with
it, and its outcome is recorded without them.

The thread has a connection of its own. So it also writes the heartbeats of a handler that has a
transaction open: there they would lock the step's row until that transaction ends.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from billiard.process import current_process
from django.db import connections

from sagas.conf import saga_settings
from sagas.engine import pooling, soft_limit, transitions
from sagas.engine.database import (
    OUTCOME_SECONDS,
    LockNotGranted,
    has_open_transaction,
    transaction_with_lock_timeout,
)
from sagas.logs import Outage
from sagas.models import StepRun


logger = logging.getLogger("sagas.leases")


@dataclass(kw_only=True)
class Lease:
    """The claim of one attempt, as the process that holds it sees it."""

    step_id: UUID
    fence: int
    ends: float
    """By this process's monotonic clock; later it is not renewed."""

    time_limit: float = float("inf")
    """When the attempt reaches its own hard limit, by the same clock."""

    heartbeat_timeout: float | None = None
    quiet_until: float = 0.0
    """The next heartbeat is due by then, by the same clock."""

    lost: bool = False
    unwanted: bool = False
    """The run no longer goes in the attempt's direction."""

    step: StepRun | None = None
    alone: bool = False
    """The row is seen in a transaction of the caller's alone, as in a test: nobody renews it."""

    asks: bool = False
    """The handler beat within a transaction of its own: the thread is to write so, and to hear."""

    details: Any = transitions.NO_DETAILS
    """What the thread is to keep besides."""

    def beat(self) -> None:
        """The handler showed that it goes on."""
        if self.heartbeat_timeout is not None:
            self.quiet_until = time.monotonic() + self.heartbeat_timeout

    def leave_handler(self) -> None:
        """From here on the process only records what came of the attempt: no limit is for that."""
        self.time_limit = float("inf")
        self.ends = time.monotonic() + 2 * OUTCOME_SECONDS
        self.heartbeat_timeout = None

    @property
    def is_over(self) -> bool:
        """Whether the attempt is past its limit, or nobody wants it any more."""
        return self.lost or self.unwanted or time.monotonic() >= self.ends

    @property
    def is_worth_renewing(self) -> bool:
        """Whether the attempt is within its limits and not given up."""
        now = time.monotonic()
        silent = self.heartbeat_timeout is not None and now > self.quiet_until
        return now < self.ends and not silent and not self.lost


class _LeaseRenewer:
    """Renews the leases of this process, and ends the process of a handler that does not end."""

    def __init__(self) -> None:
        self.may_be_killed = False
        """Whether this process may be killed, because a pool forks another."""
        self._start_over()
        os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[tuple[UUID, int], Lease] = {}
        self._started = False
        self._outage = Outage(logger, "renewing leases", "renewal")

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.step_id, lease.fence] = lease
            if not self._started:
                self._started = True
                self._start(self._run, "saga-leases")
                if self.may_be_killed:
                    # Its own thread: the other one may wait for a database that does not answer.
                    self._start(self._watch, "saga-limits")

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop((lease.step_id, lease.fence), None)

    @staticmethod
    def _start(target: Callable[[], None], name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _current(self) -> dict[tuple[UUID, int], Lease]:
        with self._lock:
            return dict(self._leases)

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, saga_settings().LEASE_RENEWAL_SECONDS))
            self._end_overdue(list(self._current().values()))
            soft_limit.send_if_missed()

    def _run(self) -> None:
        seen: set[tuple[UUID, int]] = set()
        while True:
            time.sleep(saga_settings().LEASE_RENEWAL_SECONDS)
            current = self._current()
            # Renew only what was here a round ago: a short step costs nothing.
            due = [lease for key, lease in current.items() if key in seen or lease.asks]
            seen = set(current)
            if due:
                self._renew([lease for lease in due if lease.is_worth_renewing])
                pooling.give_back()
            else:
                connections.close_all()

    def _end_overdue(self, leases: list[Lease]) -> None:
        """Keep the step's own ``time_limit``: Celery's is that of a message, for all it carries."""
        now = time.monotonic()
        for lease in leases:
            if self.may_be_killed and now >= lease.time_limit:
                logger.error(
                    "the step ran past its time_limit; its process ends",
                    extra={"action": "time_limit", "step_id": str(lease.step_id)},
                )
                os.kill(os.getpid(), signal.SIGKILL)

    def _renew(self, leases: list[Lease]) -> None:
        try:
            held = {(lease.step_id, lease.fence): lease for lease in leases}
            renewal = transitions.renew_leases(held)
            for key in renewal.lost:
                held[key].lost = True
            for lease in leases:
                if lease.asks and not lease.lost:
                    self._tell(lease)
            for step_id, fence in [*renewal.locked][:1]:
                # Whoever waits for a row has it before a sweep, which passes over what is locked.
                with (
                    suppress(LockNotGranted),
                    transaction_with_lock_timeout(saga_settings().LEASE_RENEWAL_SECONDS),
                ):
                    transitions.renew_lease(step_id, fence)
            self._outage.over()
        except Exception as error:  # noqa: BLE001 the next round tries again, on a new connection
            self._outage.failed(error)
            connections.close_all()

    @staticmethod
    def _tell(lease: Lease) -> None:
        """Write a heartbeat, and hear whether the attempt is still wanted."""
        assert lease.step is not None  # noqa: S101 only such a lease is asked for
        with (
            suppress(LockNotGranted),
            transaction_with_lock_timeout(saga_settings().LEASE_RENEWAL_SECONDS),
        ):
            lease.unwanted = not transitions.record_heartbeat(lease.step, lease.details)
            lease.asks, lease.details = False, transitions.NO_DETAILS


_keeper = _LeaseRenewer()


def end_process_at_time_limit(**_: object) -> None:
    """From now on kill this process when a step in it runs past its ``time_limit``.

    Only a child that a pool would replace: Celery tells of its "pool process" also where that is
    the worker itself (``-P solo``), or holds every other handler too (``-P threads``).
    """
    _keeper.may_be_killed = bool(current_process().daemon)


@contextmanager
def renewing_lease(step: StepRun) -> Iterator[Lease]:
    """Keep the lease of a claimed attempt while the block runs, within the step's limits."""
    options = step.plan
    seconds = options.time_limit
    if step.expires_at is not None and step.started_at is not None:
        seconds = min(seconds, (step.expires_at - step.started_at).total_seconds())
    now = time.monotonic()
    lease = Lease(
        step_id=step.pk,
        fence=step.fence,
        ends=now + seconds,
        time_limit=now + options.time_limit,
        heartbeat_timeout=options.heartbeat_timeout,
        step=step,
        alone=has_open_transaction(),
    )
    lease.beat()
    if lease.alone:
        yield lease
        return
    _keeper.add(lease)
    try:
        yield lease
    finally:
        _keeper.remove(lease)
