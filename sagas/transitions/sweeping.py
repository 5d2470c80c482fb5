"""The turn-taking of sweeps: one process at a time, about once per interval."""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from sagas.conf import saga_settings
from sagas.database import saga_database
from sagas.models import StepRun, SweepRecord
from sagas.states import StepState


logger = logging.getLogger("sagas.recover")


def longest_silence() -> timedelta:
    """Say how long nobody may have swept before it is taken for an outage: half a lease."""
    return timedelta(seconds=saga_settings().LEASE_SECONDS / 2)


def begin_sweep(interval: timedelta, worker: str) -> bool:
    """Take this interval's sweep; False when another process has it.

    It is not a lock: two sweeps at once are safe, only wasteful. After half a lease without any
    sweep, the first one spares the attempts that may be alive.
    """
    with transaction.atomic(using=saga_database()):
        due = SweepRecord.objects.select_for_update().filter(swept_at__lte=Now() - interval)
        previous = due.annotate(silence=Now() - F("swept_at")).first()
        if previous is not None:
            if previous.silence > longest_silence():
                _spare_the_living(previous.swept_at, previous.silence)
            SweepRecord.objects.update(swept_at=Now(), worker=worker)
            return True
    first = SweepRecord(pk=1, swept_at=Now(), worker=worker)
    if SweepRecord.objects.filter(pk=1).exists():
        return False
    SweepRecord.objects.bulk_create([first], ignore_conflicts=True)
    return True


def _spare_the_living(previous: datetime, silence: timedelta) -> None:
    """Leave a third of a lease to whoever could not renew it since the previous sweep.

    Without it, the first sweep after a long outage of the database would give up every attempt
    there is. An attempt whose lease had little left at the previous sweep was silent before; this
    also is why none is spared twice, however rarely sweeps are run.
    """
    mercy = timedelta(seconds=saga_settings().LEASE_SECONDS / 3)
    kept = StepRun.objects.select_for_update(skip_locked=True).filter(
        state=StepState.RUNNING,
        lease_until__gt=previous + longest_silence(),
        lease_until__lt=Now() + mercy,
    )
    # Locked rows are skipped: whoever holds one is alive, and must not be waited for.
    spared = StepRun.objects.filter(pk__in=kept.values("pk")).update(lease_until=Now() + mercy)
    if spared:
        facts = {"action": "leases_spared"}
        text = "no sweep for %.0f s: %s attempts may prove that they live"
        logger.warning(text, silence.total_seconds(), spared, extra=facts)
