"""Doing a verb to one run or to several: ask first, then do it, then report.

A page can be hours old when its button is pressed. So it carries what it showed of each run, and a
run that has changed since is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sagas import operations
from sagas.admin.badges import run_badges
from sagas.admin.forms import ReasonForm
from sagas.admin.verbs import VerbPage, is_allowed
from sagas.exceptions import SagaError
from sagas.models import SagaRun, StepRun
from sagas.operations.verbs import RunVerb, StepVerb


BULK_LIMIT = 200
"""Runs acted upon in one request: it must end before a web server's patience does."""

REFUSALS_SHOWN = 10

TEMPLATE = "admin/sagas/sagarun/confirm.html"


@dataclass(frozen=True)
class Subject:
    """A run that is about to be acted upon, as the confirmation page shows it."""

    run: SagaRun
    is_allowed: bool
    step: StepRun | None = None
    """The one step of it that is meant, if one is."""

    @property
    def badge(self) -> str:
        """The state as an icon and a word, and what else is shown beside it."""
        return run_badges(self.run)

    @property
    def token(self) -> str:
        """What was seen of the run and the step: it changes with every change of them."""
        seen = f"{self.run.state} {self.run.updated_at.isoformat()}"
        return f"{seen} {self.step.state} {self.step.fence}" if self.step else seen

    @property
    def token_name(self) -> str:
        """Name of the form field that carries the token."""
        return f"seen-{self.run.pk}"

    def is_stale(self, request: HttpRequest) -> bool:
        """Whether the run has changed since the page was made."""
        return request.POST.get(self.token_name) != self.token


@dataclass
class Results:
    """What came of a verb, run by run."""

    done: int = 0
    refusals: list[str] = field(default_factory=list)


def confirm_one(
    model_admin: "admin.ModelAdmin[SagaRun]",
    request: HttpRequest,
    run_id: str,
    page: VerbPage[RunVerb],
) -> HttpResponse:
    """Show or carry out a verb on one run; only a POST with a reason does anything."""
    run = model_admin.get_object(request, run_id)
    if not (page.is_permitted(request) and model_admin.has_view_permission(request, run)):
        raise PermissionDenied
    if run is None:
        raise Http404(_("There is no saga with this id."))
    detail = reverse(f"{url_prefix(model_admin)}_change", args=[run.pk])
    subject = Subject(run, is_allowed(page, run))
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        results = perform(model_admin, request, page, [subject], form.cleaned_data["reason"])
        report(request, page, results)
        return HttpResponseRedirect(detail)
    if not subject.is_allowed:
        messages.error(request, not_allowed(page, run))
        return HttpResponseRedirect(detail)
    planned = operations.preview_compensation(run) if page.verb.undoes else None
    return show(model_admin, request, page, [subject], form, back=detail, planned=planned)


def confirm_many(
    model_admin: "admin.ModelAdmin[SagaRun]",
    request: HttpRequest,
    queryset: Any,
    page: VerbPage[RunVerb],
) -> HttpResponse | None:
    """Show or carry out a verb on the runs selected in the list."""
    ids = list(queryset.values_list("pk", flat=True)[: BULK_LIMIT + 1])
    if len(ids) > BULK_LIMIT:
        text = _("Select at most %(limit)d sagas at once, by a filter or a search.")
        messages.error(request, text % {"limit": BULK_LIMIT})
        return None
    runs = SagaRun.objects.filter(pk__in=ids)
    subjects = [Subject(run, is_allowed(page, run)) for run in runs]
    confirmed = "confirmed" in request.POST
    form = ReasonForm(request.POST if confirmed else None)
    # The page below posts to the bare list: a run that changed must not fall out of a filter unseen.
    filters = request.POST.get("filters", "") if confirmed else request.GET.urlencode()
    back = f"{reverse(f'{url_prefix(model_admin)}_changelist')}{'?' if filters else ''}{filters}"
    if form.is_valid():
        results = perform(model_admin, request, page, subjects, form.cleaned_data["reason"])
        report(request, page, results)
        return HttpResponseRedirect(back)
    return show(model_admin, request, page, subjects, form, back=back, filters=filters)


def perform(
    model_admin: "admin.ModelAdmin[SagaRun]",
    request: HttpRequest,
    page: VerbPage[Any],
    subjects: Sequence[Subject],
    reason: str,
    **details: Any,
) -> Results:
    """Do it to each run that is still as the page showed it.

    ``details`` are the verb's own: what was typed in.
    """
    results = Results()
    for subject in subjects:
        run = subject.run
        if subject.is_stale(request):
            text = _(
                "%(run)s changed since the page was loaded; it is %(state)s now. Read it again."
            )
            results.refusals.append(text % {"run": run, "state": run.get_state_display()})
            continue
        try:
            by_person = isinstance(page.verb, StepVerb) and page.verb.by_person
            actor = request.user if by_person else request.user.get_username()
            step = [page.verb.naming.name_of(subject.step)] if subject.step else []
            page.verb.operation(run, *step, reason=reason, actor=actor, **details)
        except SagaError as error:
            results.refusals.append(str(error))
            continue
        what = f"{page.title} {subject.step}" if subject.step else page.title
        model_admin.log_change(request, run, f"{what}: {reason}")
        results.done += 1
    return results


def report(request: HttpRequest, page: VerbPage[Any], results: Results) -> None:
    """Say on the next page what came of it."""
    if results.done:
        messages.success(request, page.done(results.done))
    for refusal in results.refusals[:REFUSALS_SHOWN]:
        messages.error(request, refusal)
    unshown = len(results.refusals) - REFUSALS_SHOWN
    if unshown > 0:
        text = ngettext("%(count)d more was refused.", "%(count)d more were refused.", unshown)
        messages.error(request, text % {"count": unshown})


def show(
    model_admin: "admin.ModelAdmin[SagaRun]",
    request: HttpRequest,
    page: VerbPage[Any],
    subjects: Sequence[Subject],
    form: ReasonForm,
    **extra: Any,
) -> HttpResponse:
    """Show what is about to be done, and ask for a reason."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": page.title,
        "opts": model_admin.opts,
        "media": model_admin.media,
        "verb": page,
        "subjects": subjects,
        "any_allowed": any(subject.is_allowed for subject in subjects),
        "form": form,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "changelist_url": reverse(f"{url_prefix(model_admin)}_changelist"),
        **extra,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, TEMPLATE, context)


def not_allowed(page: VerbPage[Any], run: SagaRun) -> str:
    """Say that the state does not allow it, before anybody tries."""
    text = _("%(run)s is %(state)s: %(verb)s is not possible now.")
    return text % {"run": run, "state": run.get_state_display(), "verb": page.title}


def url_prefix(model_admin: "admin.ModelAdmin[SagaRun]") -> str:
    """Return what the names of this admin's pages begin with."""
    opts = model_admin.opts
    return f"{model_admin.admin_site.name}:{opts.app_label}_{opts.model_name}"
