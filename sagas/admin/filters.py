"""Filters of the list. Their choices come from constants and the registry, never from the rows."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from sagas.definitions import registry
from sagas.models import StepRun
from sagas.states import UNSUCCESSFUL_STEPS


# ruff: noqa: ARG002 the signatures are Django's


class GroupFilter(admin.SimpleListFilter):
    """The questions an operator asks first, in the words of the query set."""

    title = _("urgency")
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Offer the groups."""
        return [
            ("attention", _("Needs attention")),
            ("active", _("Active")),
            ("waiting", _("Waiting for others")),
            ("finished", _("Finished")),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Narrow to the group that was chosen."""
        groups = {
            "attention": queryset.needs_attention,
            "active": queryset.active,
            "waiting": queryset.waiting,
            "finished": queryset.finished,
        }
        return groups.get(self.value() or "", queryset.all)()


class LabelFilter(admin.SimpleListFilter):
    """One saga of those that this code declares."""

    title = _("saga")
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer every declared saga."""
        labels = sorted(saga.definition.label for saga in registry.all())
        return [(label, label) for label in labels]

    def has_output(self) -> bool:
        """Stay when there is only one saga, or a row's label is no longer declared."""
        return bool(self.lookup_choices) or self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow to the label that was chosen."""
        return queryset.filter(label=self.value()) if self.value() else queryset


class OwnerFilter(admin.SimpleListFilter):
    """Whose step failed, of the owners that this code declares; among what needs attention."""

    title = _("owner of what failed")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer every declared owner."""
        owners = {
            part.owner
            for saga in registry.all()
            for step in saga.definition.steps
            for part in (step, step.compensation)
            if part is not None and part.owner
        }
        return [(owner, owner) for owner in sorted(owners)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Narrow to the owner that was chosen."""
        if not self.value():
            return queryset
        failed = StepRun.objects.filter(
            run=OuterRef("pk"),
            state__in=UNSUCCESSFUL_STEPS,
            options__owner=self.value(),
        )
        return queryset.needs_attention().filter(Exists(failed))


class FollowUpFilter(admin.SimpleListFilter):
    """Whether a best-effort step failed, so that someone should follow up."""

    title = _("follow-up")
    parameter_name = "has_warnings"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Offer both."""
        return [("1", _("Wanted")), ("0", _("Not needed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow to the answer that was chosen."""
        if self.value() in {"0", "1"}:
            return queryset.filter(has_warnings=self.value() == "1")
        return queryset
