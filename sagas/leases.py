"""The lease of a running step, kept alive by one small thread per process.

A claim lives a few seconds only, so a killed child, worker or machine is known soon, however long
the step may take. A living process renews its leases once in a while; a step that is shorter than
that costs no renewal. Renewal ends at the step's ``time_limit``, so that a handler that hangs is
given up as well, on pools that cannot kill it.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import connections

from sagas import transitions
from sagas.conf import saga_settings
from sagas.definitions import StepOptions
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

    def beat(self) -> None:
        """The handler showed that it goes on."""
        if self.heartbeat_timeout is not None:
            self.quiet_until = time.monotonic() + self.heartbeat_timeout

    @property
    def is_worth_renewing(self) -> bool:
        """Whether the attempt is within its limits and not given up."""
        now = time.monotonic()
        silent = self.heartbeat_timeout is not None and now > self.quiet_until
        return now < self.ends and not silent and not self.lost


class _Keeper:
    """Renews the leases of this process, and ends the process of a handler that does not end."""

    def __init__(self) -> None:
        self.expendable = False
        """Whether this process may be killed, because a pool forks another."""
        self._start_over()
        os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[tuple[UUID, int], Lease] = {}
        self._thread: threading.Thread | None = None
        self._outage = Outage(logger, "renewing leases", "renewal")

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.step_id, lease.fence] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="saga-leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop((lease.step_id, lease.fence), None)

    def _run(self) -> None:
        seen: set[tuple[UUID, int]] = set()
        while True:
            time.sleep(saga_settings().LEASE_RENEWAL_SECONDS)
            with self._lock:
                current = dict(self._leases)
            # Renew only what was here a round ago: a short step costs nothing.
            due = [lease for key, lease in current.items() if key in seen]
            seen = set(current)
            if due:
                self._end_overdue(due)
                self._renew(due)
            else:
                connections.close_all()

    def _end_overdue(self, leases: list[Lease]) -> None:
        """Keep the step's own ``time_limit``: Celery's is that of a message, for all it carries."""
        now = time.monotonic()
        for lease in leases:
            if self.expendable and now >= lease.time_limit:
                logger.error(
                    "the step ran past its time_limit; its process ends",
                    extra={"action": "time_limit", "step_id": str(lease.step_id)},
                )
                os.kill(os.getpid(), signal.SIGKILL)

    def _renew(self, leases: list[Lease]) -> None:
        try:
            for lease in leases:
                if lease.is_worth_renewing:
                    lease.lost = not transitions.renew_lease(lease.step_id, lease.fence)
            self._outage.over()
        except Exception as error:  # noqa: BLE001 the next round tries again, on a new connection
            self._outage.failed(error)
            connections.close_all()


_keeper = _Keeper()


def end_process_at_time_limit(**_: object) -> None:
    """From now on kill this process when a step in it runs past its ``time_limit``."""
    _keeper.expendable = True


@contextmanager
def kept_alive(step: StepRun) -> Iterator[Lease]:
    """Keep the lease of a claimed attempt while the block runs, within the step's limits."""
    options = StepOptions.from_snapshot(step.options)
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
    )
    lease.beat()
    _keeper.add(lease)
    try:
        yield lease
    finally:
        _keeper.remove(lease)
