"""What happened to a run."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from sagas.models.runs import SagaRun
from sagas.models.steps import StepRun
from sagas.models.writer import WriterQuerySet
from sagas.states import EventType


class SagaEventQuerySet(WriterQuerySet["SagaEvent"]):
    """Events."""


class SagaEvent(models.Model):
    """What happened, append-only, written in the transaction of the change that it tells of.

    Replaying ``to_state`` over the events of a run gives the states of its rows.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(
        SagaRun,
        on_delete=models.CASCADE,
        # An event is written by the statement that holds its run: a constraint would look the run
        # up once more for each event, and keep events from being dropped by the month.
        db_constraint=False,
        related_name="events",
        db_index=False,
    )
    step = models.ForeignKey(
        StepRun,
        # Events go with their run. A constraint here would have every deleted step look for its
        # events, without an index that nothing else needs.
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="events",
        null=True,
        db_index=False,
    )
    type = models.CharField(max_length=20)
    """An :class:`~sagas.states.EventType`; a row of a newer version may hold another word."""

    from_state = models.CharField(max_length=12, blank=True, default="")
    to_state = models.CharField(max_length=12, blank=True, default="")
    attempt = models.IntegerField(default=0)
    actor = models.CharField(max_length=150, blank=True, default="")
    note = models.TextField(blank=True, default="")
    at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SagaEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ("id",)
        base_manager_name = "objects"
        default_permissions = ("view",)
        indexes = (models.Index(fields=("run", "id"), name="sagas_event_run"),)

    def __str__(self) -> str:
        return f"{self.type} {self.from_state}→{self.to_state}"

    @property
    def type_label(self) -> str:
        """What happened, for reading."""
        known = self.type in EventType.values
        return str(EventType(self.type).label) if known else self.type
