"""Rows beside the runs: when the sweep ran, and what handlers remember of their effects."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from sagas.models.writer import WriterQuerySet


class SweepRecordQuerySet(WriterQuerySet["SweepRecord"]):
    """The one record."""


class SweepRecord(models.Model):
    """The one row that says when the recovery sweep last ran, and lets one process run it at a time."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    swept_at = models.DateTimeField()
    looked_at = models.DateTimeField(null=True, blank=True)
    """When it was last looked for sagas that stalled."""

    worker = models.CharField(max_length=255, blank=True, default="")

    objects = SweepRecordQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sweep record")
        default_permissions = ()
        constraints: ClassVar[tuple[Any, ...]] = (
            models.CheckConstraint(condition=Q(id=1), name="sagas_sweep_single"),
        )

    def __str__(self) -> str:
        return f"swept at {self.swept_at}"


class IdempotencyRecordQuerySet(WriterQuerySet["IdempotencyRecord"]):
    """Records of effects."""


class IdempotencyRecord(models.Model):
    """The first result under a key, written in the transaction of the effect that it tells of.

    ``happened`` is False when the undo came first: then the effect never will. ``undone_at``: undone.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=255, unique=True)
    result = models.JSONField(null=True, blank=True)
    happened = models.BooleanField(default=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = IdempotencyRecordQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("idempotency record")
        verbose_name_plural = _("idempotency records")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.key
