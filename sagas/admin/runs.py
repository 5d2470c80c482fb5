"""The admin of saga runs: a list, a page for each, and the operator verbs."""

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sagas.admin import detail, listing
from sagas.admin.badges import run_badges
from sagas.admin.confirm import confirm_many, confirm_one
from sagas.admin.confirm_step import confirm_step
from sagas.admin.filters import FollowUpFilter, GroupFilter, LabelFilter, OwnerFilter
from sagas.admin.verbs import CANCEL, RETRY, RUN_PAGES, STEP_PAGES, VerbPage, legal_pages
from sagas.conf import MAX_RETRY_COUNT
from sagas.durations import format_duration
from sagas.health import sweep_status
from sagas.models import SagaRun, moments
from sagas.operations.verbs import RunVerb, StepVerb


# ruff: noqa: ARG002 the signatures are Django's

_Names = list[Any] | tuple[Any, ...]

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[SagaRun]
else:
    _Admin = object


class SagaRunAdminMixin(_Admin):
    """Shows runs and lets operators act on them. Combine it with any ModelAdmin."""

    list_display: _Names = ("badges", "label", "key", "progress", "started", "first_error")
    list_display_links: _Names = ("key",)
    list_filter: ClassVar[_Names] = (GroupFilter, "state", LabelFilter, OwnerFilter, FollowUpFilter)
    list_per_page = 50
    ordering: ClassVar[_Names] = ("-id",)
    sortable_by: ClassVar[_Names] = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = listing.CappedPaginator
    search_fields: ClassVar[_Names] = ("key",)
    search_help_text = gettext_lazy("The start of a key, an id, or tag=value.")
    actions: _Names = ("retry_selected", "cancel_selected")
    change_list_template = "admin/sagas/sagarun/change_list.html"
    change_form_template = "admin/sagas/sagarun/change_form.html"

    class Media:
        css = {"all": ("sagas/admin.css",)}

    # Who may do what

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Runs are started by code."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: SagaRun | None = None) -> bool:
        """Runs are changed by verbs."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SagaRun | None = None) -> bool:
        """Only a saga that has ended may be deleted."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.is_final)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Guard of the bulk action."""
        return RETRY.is_permitted(request)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Guard of the bulk action."""
        return CANCEL.is_permitted(request)

    def delete_model(self, request: HttpRequest, obj: SagaRun) -> None:
        """Delete it, unless it has begun to run again meanwhile."""
        SagaRun.objects.finished().filter(pk=obj.pk).delete()

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete those that have not begun to run again meanwhile."""
        SagaRun.objects.finished().filter(pk__in=queryset.values("pk")).delete()

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Delete, or say that the database keeps what rows refer to."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except IntegrityError as error:
            return self._kept(request, error)

    def _kept(self, request: HttpRequest, error: IntegrityError) -> HttpResponse:
        text = _(
            "Nothing was deleted: rows of other tables refer to it, which forbid it (%(error)s)."
        )
        first_line = str(error).partition("\n")[0]
        self.message_user(request, text % {"error": first_line}, messages.ERROR)
        return HttpResponseRedirect(request.path.removesuffix("delete/"))

    # The list

    def get_changelist(
        self, request: HttpRequest, **kwargs: Any
    ) -> type[listing.SagaRunChangeList]:
        """Use the list that knows the progress of its rows."""
        return listing.SagaRunChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Search as the command line does."""
        return (queryset.search(search_term) if search_term.strip() else queryset), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, under the age of the last sweep."""
        sweep = sweep_status()
        context = {
            "sweep": sweep,
            "sweep_age": format_duration(sweep.age) if sweep.age is not None else "",
            "title": capfirst(self.opts.verbose_name_plural),
        }
        try:
            return super().changelist_view(request, {**context, **(extra_context or {})})
        except IntegrityError as error:
            return self._kept(request, error)

    @admin.display(description=gettext_lazy("State"))
    def badges(self, run: SagaRun) -> SafeString:
        """The state, whether it is paused, and whether someone should follow up."""
        return run_badges(run)

    @admin.display(description=gettext_lazy("Progress"))
    def progress(self, run: SagaRun) -> str:
        """How far it has come, and where it stands."""
        return listing.progress(run)

    @admin.display(description=gettext_lazy("Started"))
    def started(self, run: SagaRun) -> SafeString:
        """How long ago, with the moment as a tooltip."""
        moment = moments.shown(run.created_at)
        return format_html(
            '<time datetime="{}" title="{}">{}</time>',
            moment.isoformat(),
            f"{moment:%Y-%m-%d %H:%M:%S %Z}",
            _("%(time)s ago")
            % {"time": format_duration(moments.now() - moments.aware(run.created_at))},
        )

    @admin.display(description=gettext_lazy("Error"), empty_value="")
    def first_error(self, run: SagaRun) -> str:
        """The start of what went wrong."""
        return listing.first_error(run)

    @admin.action(permissions=["retry"], description=gettext_lazy("Retry selected sagas"))
    def retry_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Retry, after a confirmation."""
        return confirm_many(self, request, queryset, RETRY)

    @admin.action(permissions=["cancel"], description=gettext_lazy("Cancel selected sagas"))
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel, after a confirmation."""
        return confirm_many(self, request, queryset, CANCEL)

    # The page of one run

    def get_urls(self) -> list[URLPattern]:
        """Add a confirmation page for each verb."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        of_runs = [
            path(
                f"<uuid:run_id>/{page.name}/",
                self.admin_site.admin_view(partial(self.confirm_view, page=page)),
                name=f"{name}_{page.name}",
            )
            for page in RUN_PAGES
        ]
        of_steps = [
            path(
                f"<uuid:run_id>/{page.name}/<path:step>/",
                self.admin_site.admin_view(partial(self.confirm_step_view, page=page)),
                name=f"{name}_{page.name}",
            )
            for page in STEP_PAGES
        ]
        return of_runs + of_steps + super().get_urls()

    def confirm_view(
        self, request: HttpRequest, run_id: Any, page: VerbPage[RunVerb]
    ) -> HttpResponse:
        """Ask for a reason, then do the verb."""
        return confirm_one(self, request, str(run_id), page)

    def confirm_step_view(
        self, request: HttpRequest, run_id: Any, step: str, page: VerbPage[StepVerb]
    ) -> HttpResponse:
        """Ask for a reason, and what else the verb wants to know, then do it to one step."""
        return confirm_step(self, request, str(run_id), step, page)

    def get_fieldsets(self, request: HttpRequest, obj: SagaRun | None = None) -> Any:
        """The page shows what matters by itself; a project may add fieldsets to it."""
        return self.fieldsets or ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what the page of one run shows beside its fields."""
        run: SagaRun = context["original"]
        now = moments.now()
        steps = detail.step_lines(run, request, now)
        context |= {
            "run": run,
            "badge": self.badges(run),
            "explanation": run.explain(),
            "children": list(run.children.only("label", "key", "state")[: detail.CHILDREN_SHOWN]),
            "has_problem": detail.has_problem(run),
            "input": detail.pretty(run.input),
            "max_retry_count": MAX_RETRY_COUNT,
            "duration": detail.run_duration(run, now),
            "verbs": legal_pages(run, request),
            "forward": [line for line in steps if not line.step.is_backward],
            "backward": [line for line in steps if line.step.is_backward],
            "events": detail.latest_events(run, everything="all-events" in request.GET),
        }
        return super().render_change_form(request, context, *args, **kwargs)


class SagaRunAdmin(SagaRunAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]  # not at run time
    """The admin that is registered."""
