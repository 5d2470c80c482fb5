"""The turn-taking of sweeps: one process at a time, about once per interval."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models.functions import Now

from sagas.conf import saga_settings
from sagas.engine.database import saga_database
from sagas.engine.isolation import read_committed
from sagas.models import StepRun, SweepRecord
from sagas.states import StepState


logger = logging.getLogger("sagas.recover")


LOOK_EVERY = timedelta(seconds=30)
"""How often one sweep also looks for sagas that stalled."""


def max_sweep_gap() -> timedelta:
    """Say how long nobody may have swept before it is taken for an outage: half a lease."""
    return timedelta(seconds=saga_settings().LEASE_SECONDS / 2)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A sweep that may begin."""

    began: datetime
    """By the database's clock."""

    looks: bool = True
    """Whether it also looks for sagas that stalled, which is rare."""


@dataclass
class _Kept:
    """The record's row was found locked: what it said then, and since when."""

    swept_at: datetime
    since: datetime
    is_logged: bool = False


class SweepTurns:
    """Takes the turns of this process. No turn is a lock: two sweeps at once are safe, only wasteful.

    Nor is the record that says who took the last one: a process that stands still with its row is
    passed over, and when it keeps it for half a lease, all others sweep without it.
    """

    def __init__(self) -> None:
        """Know of nothing in the way."""
        self._seen_at: datetime | None = None
        self._kept: _Kept | None = None

    def begin(self, interval: timedelta, worker: str) -> Turn | None:
        """Take this interval's sweep; None when another process has it.

        After half a lease without any sweep, the first one spares the attempts that may be alive.
        """
        record = SweepRecord.objects.annotate(now=Now())
        last = record.values_list("swept_at", "looked_at", "now").first()
        if last is None:
            return _first_turn(worker)
        swept_at, looked_at, now = last
        if self._seen_at is None or now - self._seen_at > max_sweep_gap():
            self._kept = None
        self._seen_at = now
        if swept_at > now - interval:
            return None
        if now - swept_at > max_sweep_gap() and not self._is_kept(swept_at):
            _extend_live_leases(swept_at, now - swept_at)
        looks = looked_at is None or now - looked_at >= LOOK_EVERY
        if (
            not _take(swept_at, worker, looks=looks)
            and interval
            and not self._is_kept_too_long(swept_at, now)
        ):
            return None
        return Turn(began=now, looks=looks)

    def _is_kept(self, swept_at: datetime) -> bool:
        return self._kept is not None and self._kept.swept_at == swept_at

    def _is_kept_too_long(self, swept_at: datetime, now: datetime) -> bool:
        """Whether somebody has kept the record since half a lease, as this process saw all the time."""
        if self._kept is None or self._kept.swept_at != swept_at:
            self._kept = _Kept(swept_at, now)
        kept = now - self._kept.since
        if kept <= max_sweep_gap():
            return False
        if not self._kept.is_logged:
            self._kept.is_logged = True
            text = "the record of sweeps has been locked for %.0f s: this process sweeps without it"
            facts = {"action": "sweep_record_locked"}
            logger.warning(text, kept.total_seconds(), extra=facts)
        return True


def _first_turn(worker: str) -> Turn | None:
    SweepRecord.objects.bulk_create(
        [SweepRecord(pk=1, swept_at=Now(), looked_at=Now(), worker=worker)], ignore_conflicts=True
    )
    return Turn(began=SweepRecord.objects.values_list("swept_at", flat=True).get())


def _take(swept_at: datetime, worker: str, *, looks: bool) -> bool:
    """Write who sweeps, unless somebody else does it right now. Waits for no lock."""
    with read_committed(saga_database()):
        free = SweepRecord.objects.select_for_update(skip_locked=True).filter(swept_at=swept_at)
        taken = SweepRecord.objects.filter(pk__in=free.values("pk"), swept_at=swept_at)
        looked = {"looked_at": Now()} if looks else {}
        return bool(taken.update(swept_at=Now(), worker=worker, **looked))


def _extend_live_leases(previous: datetime, silence: timedelta) -> None:
    """Leave a third of a lease to whoever could not renew it since the previous sweep.

    Without it, the first sweep after a long outage of the database would give up every attempt
    there is. An attempt whose lease had little left at the previous sweep was silent before; this
    also is why none is spared twice, however rarely sweeps are run.
    """
    extension = timedelta(seconds=saga_settings().LEASE_SECONDS / 3)
    kept = StepRun.objects.select_for_update(skip_locked=True).filter(
        state=StepState.RUNNING,
        lease_until__gt=previous + max_sweep_gap(),
        lease_until__lt=Now() + extension,
    )
    # Locked rows are skipped: whoever holds one is alive, and must not be waited for.
    with read_committed(saga_database()):
        spared = StepRun.objects.filter(pk__in=kept.values("pk")).update(
            lease_until=Now() + extension
        )
    if spared:
        facts = {"action": "leases_spared"}
        text = "no sweep for %.0f s: %s attempts may prove that they live"
        logger.warning(text, silence.total_seconds(), spared, extra=facts)
