"""What happens once stays once: a record of key and result, written with the effect itself.

A handler may run again after its effect was committed: its process died before the outcome was
recorded, or a second attempt began while the first was slow. :func:`once` commits the effect and a
record of its key together, so a later attempt finds the record and returns the first result.
:func:`undo_once` undoes that effect once, and forbids it when it has not happened yet. A step whose
effect is nothing but rows of the sagas' own database needs none of this: ``@step(atomic=True)``.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from django.db import IntegrityError, router, transaction
from django.db.models.functions import Now

from sagas.definitions import Saga
from sagas.exceptions import PayloadError, PermanentError, SagaDefinitionError
from sagas.models import IdempotencyRecord
from sagas.payloads import Codec
from sagas.texts import require_storable


R = TypeVar("R")
SagaT = TypeVar("SagaT", bound=Saga[Any])

KEY_LENGTH = 255


def once(
    key: str, function: Callable[[], R], *, returns: Any = None, using: str | None = None
) -> R:
    """Run ``function`` in a transaction, unless its result is recorded under ``key``; return that.

    Of two that come at the same time, the second waits for the first. When ``function`` raises,
    nothing is recorded and nothing was done. ``returns`` is the type of the result; by default
    what ``function`` is annotated with, and without that plain JSON data. ``using`` is the
    database of the effect, which then holds the record as well.

    A handler that needs several of these gives each a key of its own:
    ``f"{self.idempotency_key}:ledger"``.

    Raises:
        PermanentError: with code ``CANCELLED``: :func:`undo_once` came first.
        PayloadError: the key is no text of 1 to 255 characters, or the result cannot be stored.
    """
    codec: Codec[R] = Codec(_annotation(function) if returns is None else returns)
    what = f"the result under the key {key!r}"
    database = using or router.db_for_write(IdempotencyRecord)
    records = IdempotencyRecord.objects.using(database).filter(key=key)
    with transaction.atomic(using=database):
        if _is_first(IdempotencyRecord(key=key), database):
            data, value = codec.normalise(function(), what=what)
            records.update(result=data)
            return value
        record = records.get()
    if not record.happened:
        message = f"what has the key {key!r} was undone before it was asked for"
        raise PermanentError(message, code="CANCELLED")
    return codec.load(record.result, what=what)


def undo_once(key: str, function: Callable[[], object], *, using: str | None = None) -> bool:
    """Undo by ``function`` what :func:`once` did under ``key``; if it did nothing, forbid it.

    For a compensation, with ``self.undoing.idempotency_key``. Runs ``function`` in a transaction,
    and only the first time; returns whether it ran. It may come before the action, be repeated,
    and come again when the action reports late: the effect never stays behind.

    Raises:
        PayloadError: the key is no text of 1 to 255 characters.
    """
    database = using or router.db_for_write(IdempotencyRecord)
    standing = IdempotencyRecord.objects.using(database).filter(key=key, undone_at__isnull=True)
    with transaction.atomic(using=database):
        if _is_first(IdempotencyRecord(key=key, happened=False, undone_at=Now()), database):
            return False
        if not standing.update(undone_at=Now()):
            return False
        function()
    return True


def idempotent(handler: Callable[[SagaT], R]) -> Callable[[SagaT], R]:
    """Let a step take effect once, whatever number of attempts: ``once(self.idempotency_key)``.

    Written below ``@step``, for effects in the database alone. Its compensation calls
    ``undo_once(self.undoing.idempotency_key, …)``.
    """
    if len(inspect.signature(handler).parameters) != 1:
        message = (
            f"{handler.__qualname__}: @idempotent is for steps; a compensation uses undo_once()"
        )
        raise SagaDefinitionError(message)

    @wraps(handler)
    def handle(self: SagaT, /) -> R:
        return once(self.idempotency_key, lambda: handler(self), returns=_annotation(handler))

    return handle


def _is_first(record: IdempotencyRecord, database: str) -> bool:
    """Write the record, or find that somebody has: waits for whoever is about to commit one."""
    what = f"an idempotency key (text of 1 to {KEY_LENGTH} characters)"
    if not require_storable(record.key, what=what, length=KEY_LENGTH):
        raise PayloadError(f"{what} is empty")
    try:
        with transaction.atomic(using=database):
            IdempotencyRecord.objects.using(database).bulk_create([record])
    except IntegrityError:
        return False
    return True


def _annotation(function: Callable[..., Any]) -> Any:
    """Return what a function says it returns; Any when it says nothing."""
    try:
        return get_type_hints(function).get("return", Any)
    except TypeError:  # a callable that holds no annotations
        return Any
