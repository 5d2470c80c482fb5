"""Deleting what is over, in small batches, so that no lock is held for long."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db import router, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from sagas.models import IdempotencyRecord, SagaEvent, SagaRun, StepRun
from sagas.states import FINAL_SAGAS, IN_FLIGHT_STEPS, SagaState, StepState


def purge(
    before: datetime, *, batch_size: int = 500, include_dead_letters: bool = False
) -> Iterator[int]:
    """Delete the runs that ended before ``before``; yield the number deleted after each batch.

    A dead letter has not ended, so its last change counts. Runs that someone holds locked, and those
    of which a step is tried again by hand, are left for the next purge.
    """
    old = Q(state__in=FINAL_SAGAS, completed_at__lt=before)
    if include_dead_letters:
        old |= Q(state=SagaState.DEAD_LETTER, updated_at__lt=before)
    moving = StepRun.objects.filter(
        run=OuterRef("pk"), follow_up=True, state__in=(StepState.READY, *sorted(IN_FLIGHT_STEPS))
    )
    candidates = SagaRun.objects.filter(old).exclude(Exists(moving)).order_by("pk")
    last: UUID | None = None
    while True:
        deleted, last = _purge_batch(candidates, after=last, size=batch_size)
        if last is None:
            return
        yield deleted


def _purge_batch(
    candidates: "QuerySet[SagaRun]", *, after: UUID | None, size: int
) -> tuple[int, UUID | None]:
    """Delete up to ``size`` of ``candidates`` in a transaction of its own.

    Starting after the last id seen makes a whole purge one pass over the index.
    """
    if after is not None:
        candidates = candidates.filter(pk__gt=after)
    database = router.db_for_write(SagaRun)
    with transaction.atomic(using=database):
        locked = candidates.using(database).select_for_update(skip_locked=True)
        ids = list(locked.values_list("pk", flat=True)[:size])
        # Raw, because a collected delete of steps looks for their events by a column without index.
        for rows in (
            SagaEvent.objects.using(database).filter(run__in=ids),
            StepRun.objects.using(database).filter(run__in=ids),
            SagaRun.objects.using(database).filter(pk__in=ids),
        ):
            rows._raw_delete(database)  # noqa: SLF001 the public door is the collected delete
    return len(ids), (ids[-1] if ids else None)


def purge_records(before: datetime, *, batch_size: int = 500) -> Iterator[int]:
    """Delete idempotency records written before ``before``; yield the number deleted per batch.

    Those stay whose key begins with the id of a run that is not over: it may ask again.
    """
    old = IdempotencyRecord.objects.filter(created_at__lt=before).order_by("pk")
    last = 0
    while batch := list(old.filter(pk__gt=last)[:batch_size]):
        last = batch[-1].pk
        run_ids = {record.pk: _run_id(record.key) for record in batch}
        named = SagaRun.objects.filter(pk__in={run_id for run_id in run_ids.values() if run_id})
        unfinished = set(named.exclude(state__in=FINAL_SAGAS).values_list("pk", flat=True))
        gone = [pk for pk, run_id in run_ids.items() if run_id not in unfinished]
        IdempotencyRecord.objects.filter(pk__in=gone).delete()
        yield len(gone)


def _run_id(key: str) -> UUID | None:
    try:
        return UUID(key.partition(":")[0])
    except ValueError:
        return None
