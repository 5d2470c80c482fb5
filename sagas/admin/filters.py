"""Filters of the list. Their choices come from constants and the registry, never from the rows."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from sagas.definitions import registry


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
