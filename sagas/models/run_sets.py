"""Runs, by what is asked of them."""

from contextlib import suppress
from datetime import datetime
from typing import Self, TypeVar
from uuid import UUID

from django.db import connections, models
from django.db.models import Q
from django.db.models.fields.json import KeyTransform

from sagas.models.moments import stored
from sagas.models.steps import GOES_ITS_WAY, Moment, StepRun
from sagas.models.writer import WriterQuerySet
from sagas.states import (
    ACTIVE_SAGAS,
    FINAL_SAGAS,
    IN_FLIGHT_STEPS,
    SagaState,
    StepState,
)
from sagas.texts import is_storable


RunT = TypeVar("RunT", bound=models.Model)


class RunSet(WriterQuerySet[RunT]):
    """Runs, in the words of whoever asks for them."""

    def active(self) -> Self:
        """Not final and not waiting for a human: running or compensating."""
        return self.filter(state__in=ACTIVE_SAGAS)

    def finished(self) -> Self:
        """Final: nothing left to do for a worker or a human."""
        return self.filter(state__in=FINAL_SAGAS)

    def needs_attention(self) -> Self:
        """A human must decide, or a best-effort step failed and needs follow-up."""
        return self.filter(Q(state=SagaState.DEAD_LETTER) | Q(has_warnings=True))

    def waiting(self) -> Self:
        """A step of theirs waits for an outside party."""
        waiting = StepRun.objects.filter(state=StepState.WAITING)
        return self.filter(pk__in=waiting.values("run_id"))

    def stale(self, before: datetime) -> Self:
        """Active, not paused, waiting for no one, without a change of it or its steps since ``before``."""
        before = stored(before)
        moved = StepRun.objects.filter(
            Q(updated_at__gte=before) | Q(state=StepState.WAITING), run=models.OuterRef("pk")
        )
        idle = self.active().filter(updated_at__lt=before, paused_at__isnull=True)
        return idle.filter(~models.Exists(moved))

    def stalled(self) -> Self:
        """Active and not paused, though nothing of them is in flight, or ready in their direction."""
        moving = StepRun.objects.filter(
            Q(state__in=IN_FLIGHT_STEPS) | (Q(state=StepState.READY) & GOES_ITS_WAY),
            run=models.OuterRef("pk"),
        )
        return self.active().filter(~models.Exists(moving), paused_at__isnull=True)

    def past_deadline(self, now: Moment) -> Self:
        """Still going forward though the deadline has passed; it does not while paused."""
        return self.filter(state=SagaState.RUNNING, deadline__lte=now, paused_at__isnull=True)

    def search(self, text: str) -> Self:
        """Find by the start of a key, by id, or by ``tag=value``; what no row can hold finds none."""
        text = text.strip()
        if not is_storable(text):
            return self.none()
        name, equals, value = text.partition("=")
        if equals and connections[self.db].features.supports_json_field_contains:
            return self.filter(tags__contains={name: value})
        if equals:
            return self.alias(_tag=KeyTransform(name, "tags")).filter(_tag=value)
        found = Q(key__startswith=text)
        with suppress(ValueError):
            found |= Q(pk=UUID(text))
        return self.filter(found)
