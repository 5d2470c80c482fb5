"""Deleting what is over, in small batches, so that no lock is held for long."""

from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import IntegrityError, router, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from sagas.engine import references
from sagas.models import IdempotencyRecord, SagaEvent, SagaRun, StepRun
from sagas.models.moments import stored
from sagas.states import FINAL_SAGAS, OPEN_STEPS, SagaState


def purge(
    before: datetime, *, batch_size: int = 500, include_dead_letters: bool = False
) -> Generator[int, None, int]:
    """Delete the runs that ended before ``before``; yield the number deleted after each batch.

    A dead letter has not ended, so its last change counts. Runs that someone holds locked, and those
    of which a step is still to end for which nobody waits, are left for the next purge. A child stays as
    long as its parent, which may have to undo it, and goes in the same purge or the next one. With rows of the project that
    refer to a run, a step or an event it is done as their ``on_delete`` says. Where that forbids it, as
    ``PROTECT`` does, the run stays; the generator returns how many did.
    """
    before = stored(before)
    old = Q(state__in=FINAL_SAGAS, completed_at__lt=before)
    if include_dead_letters:
        old |= Q(state=SagaState.DEAD_LETTER, updated_at__lt=before)
    database = router.db_for_write(SagaRun)
    alone = SagaRun.objects.using(database).filter(old, parent_step__isnull=True)
    candidates = alone.exclude(_is_moving()).order_by("pk")
    kept = 0
    # Starting after the last id seen makes a whole purge one pass over the index.
    following = candidates
    while ids := list(following.values_list("pk", flat=True)[:batch_size]):
        batch = _purge_batch(candidates, ids, database)
        kept += batch.kept
        yield batch.deleted
        following = candidates.filter(pk__gt=ids[-1])
    return kept


def _is_moving() -> Exists:
    """Whether a step is still to end for which the run does not wait."""
    return Exists(StepRun.objects.filter(run=OuterRef("pk"), detached=True, state__in=OPEN_STEPS))


class _Purged(NamedTuple):
    deleted: int
    kept: int


def _purge_batch(candidates: "QuerySet[SagaRun]", ids: Sequence[UUID], database: str) -> _Purged:
    """Delete those of ``ids`` that nothing keeps, in a transaction of its own.

    If the database or a row further away objects, in two halves, until what it objects to is alone.
    """
    try:
        with transaction.atomic(using=database):
            locked = candidates.filter(pk__in=ids).select_for_update(skip_locked=True)
            mine = list(locked.values_list("pk", flat=True))
            kept = references.keeping(mine)
            going = [pk for pk in mine if pk not in kept]
            references.let_go(going, database)
            _delete(going, database)
            return _Purged(deleted=len(going), kept=len(kept))
    except IntegrityError:
        if len(ids) == 1:
            return _Purged(deleted=0, kept=1)
    middle = len(ids) // 2
    halves = [_purge_batch(candidates, half, database) for half in (ids[:middle], ids[middle:])]
    return _Purged(*map(sum, zip(*halves, strict=True)))


def _delete(ids: Sequence[UUID], database: str) -> None:
    children = SagaRun.objects.using(database).filter(parent_step__run__in=ids)
    children.update(parent_step=None)
    # Raw, because a collected delete of steps looks for their events by a column without index.
    for rows in (
        SagaEvent.objects.using(database).filter(run__in=ids),
        StepRun.objects.using(database).filter(run__in=ids),
        SagaRun.objects.using(database).filter(pk__in=ids),
    ):
        rows._raw_delete(database)  # noqa: SLF001 the public door is the collected delete


def purge_records(before: datetime, *, batch_size: int = 500) -> Iterator[int]:
    """Delete idempotency records written before ``before``; yield the number deleted per batch.

    Those stay whose key begins with the id of a run that may ask again, because it or a step of it
    is not over.
    """
    old = IdempotencyRecord.objects.filter(created_at__lt=stored(before)).order_by("pk")
    last = 0
    while batch := list(old.filter(pk__gt=last)[:batch_size]):
        last = batch[-1].pk
        run_ids = {record.pk: _run_id(record.key) for record in batch}
        named = SagaRun.objects.filter(pk__in={run_id for run_id in run_ids.values() if run_id})
        open_runs = named.filter(~Q(state__in=FINAL_SAGAS) | _is_moving())
        unfinished = set(open_runs.values_list("pk", flat=True))
        gone = [pk for pk, run_id in run_ids.items() if run_id not in unfinished]
        IdempotencyRecord.objects.filter(pk__in=gone).delete()
        yield len(gone)


def _run_id(key: str) -> UUID | None:
    try:
        return UUID(key.partition(":")[0])
    except ValueError:
        return None
