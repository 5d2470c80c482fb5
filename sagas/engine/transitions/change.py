"""One transaction on one run, under the run's lock.

Whoever changes a run writes by functions of this room. Each takes the :class:`RunChange` first, which is
the proof of the lock, and gathers in it what is still to be told and sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sagas.conf import saga_settings
from sagas.engine import isolation
from sagas.engine.database import saga_database, with_idle_timeout
from sagas.engine.isolation import read_committed
from sagas.engine.transitions.events import EventLog
from sagas.engine.transitions.values import Claimant
from sagas.models import SagaRun, StepRun


def _first_grace() -> timedelta:
    return timedelta(seconds=saga_settings().RESEND_SECONDS)


@dataclass(kw_only=True)
class RunChange:
    """A run that this transaction has locked, and what comes of changing it. It has no verbs itself."""

    run: SagaRun

    claimant: Claimant | None = None
    """Who goes on in place, where that is allowed."""

    event_log: EventLog = field(default_factory=EventLog)
    """What happened, written at the end of the transaction."""

    made_ready: list[StepRun] = field(default_factory=list)
    """The steps that became ready, whose messages the caller sends."""

    taken: StepRun | None = None
    """The one that the claimant goes on with, without a message."""

    grace: timedelta = field(default_factory=_first_grace)
    """How long the sweep leaves the sending to the caller."""


@contextmanager
def change(run_id: UUID, claimant: Claimant | None = None) -> Iterator[RunChange]:
    """Open a transaction that holds the run's lock; its events are written at the end.

    ``claimant`` goes on in place where it may.
    ``no_key``: inserts of steps and events, which only reference the run, need not wait.
    """
    runs = SagaRun.objects.select_for_update(no_key=True).defer("input", "tags")
    locking = with_idle_timeout(isolation.with_level(runs, saga_database()))
    with read_committed(saga_database()):
        run = locking.get(pk=run_id)
        if isolation.is_above_read_committed(run):
            # What changed since the caller's transaction began is an error of it, and not overlooked.
            list(StepRun.objects.select_for_update().filter(run_id=run_id).values_list("pk"))
        changing = RunChange(run=run, claimant=claimant)
        yield changing
        changing.event_log.write()
