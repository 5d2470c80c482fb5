"""Rows of a project that point at runs, steps and events."""

from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


RUN = "sagas.SagaRun"


def to(model: str, on_delete: Any, **options: Any) -> Any:
    """A foreign key that may be empty and has no way back."""
    return models.ForeignKey(model, on_delete, null=True, related_name="+", **options)


def nobody() -> None:
    """What ``SET(callable)`` sets."""


class Note(models.Model):
    """One row, one way to refer: each test fills one column."""

    cascades = to(RUN, models.CASCADE)
    nulls = to(RUN, models.SET_NULL)
    defaults = to(RUN, models.SET_DEFAULT, default=None)
    calls = to(RUN, models.SET(nobody))
    protects = to(RUN, models.PROTECT)
    restricts = to(RUN, models.RESTRICT)
    ignores = to(RUN, models.DO_NOTHING)
    ignores_freely = to(RUN, models.DO_NOTHING, db_constraint=False)
    nulls_freely = to(RUN, models.SET_NULL, db_constraint=False)
    step_cascades = to("sagas.StepRun", models.CASCADE)
    step_nulls = to("sagas.StepRun", models.SET_NULL)
    step_protects = to("sagas.StepRun", models.PROTECT)
    event_nulls = to("sagas.SagaEvent", models.SET_NULL)
    event_cascades = to("sagas.SagaEvent", models.CASCADE)
    runs: Any = models.ManyToManyField(RUN, related_name="+")
    steps: Any = models.ManyToManyField("sagas.StepRun", related_name="+")

    def __str__(self) -> str:
        return f"note {self.pk}"


class Line(models.Model):
    """What refers to a row that refers."""

    goes_with = models.ForeignKey(Note, models.CASCADE, null=True, related_name="+")
    holds = models.ForeignKey(Note, models.PROTECT, null=True, related_name="+")

    def __str__(self) -> str:
        return f"line {self.pk}"


class Marked(models.Model):
    """A row that is found from its run by a many-to-many relation with a table of its own."""

    runs: Any = models.ManyToManyField(RUN, through="Mark", related_name="marked")

    def __str__(self) -> str:
        return f"marked {self.pk}"


class Mark(models.Model):
    """That table."""

    run = models.ForeignKey(RUN, models.CASCADE)
    marked = models.ForeignKey(Marked, models.CASCADE)

    def __str__(self) -> str:
        return f"mark {self.pk}"


class Comment(models.Model):
    """A row that refers to anything; a project may give our models a way back to it."""

    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.UUIDField()
    about = GenericForeignKey("content_type", "object_id")

    def __str__(self) -> str:
        return f"comment {self.pk}"
