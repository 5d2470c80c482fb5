"""What the four services have in common: effects that are kept by idempotency key."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from examples.shop.models import Effect
from sagas import PermanentError


def perform(
    service: str,
    action: str,
    *,
    key: str,
    order_id: int,
    details: dict[str, Any],
    apply: Callable[[], None] = lambda: None,
) -> Effect:
    """Let it happen once per ``key``; ``apply`` runs in the same transaction, the first time only.

    Raises:
        PermanentError: the key was cancelled before, or was used for something else.
        ConnectionError: no answer; whether it happened is unknown.
    """
    facts = {"service": service, "action": action, "order_id": order_id, "details": details}
    with _other_company(), transaction.atomic(durable=True):
        effect, is_first = Effect.objects.get_or_create(
            key=key, defaults={**facts, "at": timezone.now(), "calls": 1}
        )
        if is_first:
            apply()
            return effect
        Effect.objects.filter(pk=effect.pk).update(calls=F("calls") + 1)
    if effect.at is None:
        raise PermanentError(f"{action} was cancelled before it was asked for", code="CANCELLED")
    if (effect.order_id, effect.details) != (order_id, details):
        raise PermanentError(f"this key was used for another {action}", code="KEY_REUSED")
    return effect


def undo(
    service: str,
    action: str,
    *,
    key: str,
    order_id: int,
    apply: Callable[[Effect], None] = lambda _: None,
) -> None:
    """Undo what happened under ``key``, once; if nothing did, see to it that it never will."""
    now = timezone.now()
    facts = {"service": service, "action": action, "order_id": order_id}
    with _other_company(), transaction.atomic(durable=True):
        effect, never_happened = Effect.objects.get_or_create(
            key=key, defaults={**facts, "undone_at": now}
        )
        this_effect = Effect.objects.filter(pk=effect.pk)
        this_effect.update(undo_calls=F("undo_calls") + 1)
        won = this_effect.filter(undone_at__isnull=True).update(undone_at=now)
        if won and not never_happened:
            apply(effect)


def find(*, key: str) -> Effect | None:
    """Say what stands under ``key``: an effect that happened and was not undone."""
    with _other_company():
        effect = Effect.objects.filter(key=key).first()
    return effect if effect is not None and effect.stands else None


@contextmanager
def _other_company() -> Iterator[None]:
    """Show trouble on the other side as what a caller would see of it: no answer."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise ConnectionError(f"the service did not answer: {error}") from error
