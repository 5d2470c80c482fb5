"""Two kinds of tables: the shop's own, and those that stand for other companies' systems.

:class:`Order` and :class:`Ledger` are ours. :class:`Effect` and :class:`StockItem` are not: only
``examples.shop.services`` may touch them, as if there were a network in between.
"""

import uuid

from django.db import models
from django.db.models import F, Q

from examples.shop.order_input import LASTING, FailHow
from sagas.models import SagaRun


class Order(models.Model):
    """What a customer asked for, and the saga that fulfils it."""

    form_key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    """The same form sent twice is the same order."""

    customer_id = models.CharField(max_length=80)
    sku = models.CharField(max_length=40)
    quantity = models.PositiveIntegerField()
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    country = models.CharField(max_length=2)
    ordered_at = models.DateTimeField()
    fail_at = models.CharField(max_length=100, blank=True, default="")
    fail_how = models.CharField(max_length=20, blank=True, default="", choices=FailHow.choices)
    is_mended = models.BooleanField(default=False)
    """Whether somebody has removed the cause of the staged failure."""

    run = models.OneToOneField(
        SagaRun, on_delete=models.SET_NULL, null=True, related_name="shop_order"
    )

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"order {self.pk}"

    @property
    def failure_lasts(self) -> bool:
        """Whether the staged failure stays until somebody mends its cause."""
        return self.fail_how in LASTING and not self.is_mended


class Ledger(models.Model):
    """Our books: what was earned is positive, what was reversed is negative."""

    order_id = models.BigIntegerField(db_index=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "ledger"

    def __str__(self) -> str:
        return f"{self.amount} for order {self.order_id}"


class Effect(models.Model):
    """One thing that another company's system did for us, found again by its idempotency key.

    ``at`` is empty when it was cancelled before it was asked for: it never happened, and never
    will. ``calls`` and ``undo_calls`` count how often we asked.
    """

    key = models.CharField(max_length=255, unique=True)
    service = models.CharField(max_length=20)
    action = models.CharField(max_length=20)
    order_id = models.BigIntegerField(db_index=True)
    details = models.JSONField(default=dict)
    calls = models.PositiveIntegerField(default=0)
    undo_calls = models.PositiveIntegerField(default=0)
    at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(at__isnull=False) | Q(undone_at__isnull=False),
                name="shop_effect_happened_or_undone",
            ),
        )

    def __str__(self) -> str:
        return f"{self.action} for order {self.order_id}"

    @property
    def stands(self) -> bool:
        """Whether it happened and was not undone."""
        return self.at is not None and self.undone_at is None


class StockItem(models.Model):
    """How many pieces lie on the warehouse's shelf."""

    sku = models.CharField(max_length=40, primary_key=True)
    initial = models.PositiveIntegerField()
    level = models.PositiveIntegerField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(level__lte=F("initial")), name="shop_stock_at_most_initial"
            ),
        )

    def __str__(self) -> str:
        return f"{self.level} of {self.sku}"
