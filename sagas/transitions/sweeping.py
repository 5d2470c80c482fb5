"""The turn-taking of sweeps: one process at a time, about once per interval."""

from datetime import timedelta

from django.db.models.functions import Now

from sagas.models import SweepRecord


def begin_sweep(interval: timedelta, worker: str) -> bool:
    """Take this interval's sweep; False when another process has it.

    It is not a lock: two sweeps at once are safe, only wasteful.
    """
    due = SweepRecord.objects.filter(pk=1, swept_at__lte=Now() - interval)
    if due.update(swept_at=Now(), worker=worker):
        return True
    first = SweepRecord(pk=1, swept_at=Now(), worker=worker)
    if SweepRecord.objects.filter(pk=1).exists():
        return False
    SweepRecord.objects.bulk_create([first], ignore_conflicts=True)
    return True
