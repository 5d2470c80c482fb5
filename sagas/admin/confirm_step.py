"""Doing a verb to one step: as to a run, and what was typed in survives a refusal."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from sagas import operations
from sagas.admin.badges import state_badge
from sagas.admin.confirm import Subject, not_allowed, perform, report, show, url_prefix
from sagas.admin.verbs import VerbPage
from sagas.admin.waits import waits_of
from sagas.operations.addressing import rows_by_name
from sagas.operations.verbs import StepVerb
from sagas.states import StepState


if TYPE_CHECKING:
    from sagas.models import SagaRun


def confirm_step(
    model_admin: "admin.ModelAdmin[SagaRun]",
    request: HttpRequest,
    run_id: str,
    name: str,
    page: VerbPage[StepVerb],
) -> HttpResponse:
    """Show or carry out a verb on one step of a run; only a POST with a reason does anything."""
    run = model_admin.get_object(request, run_id)
    if not model_admin.has_view_permission(request, run):
        raise PermissionDenied
    if run is None:
        raise Http404(_("There is no saga with this id."))
    steps: list[Any] = list(run.steps.defer("input", "output").annotate(read_at=Now()))
    step: Any = rows_by_name(run, steps).get(name)
    if not page.is_permitted(request, step):
        raise PermissionDenied
    if step is None:
        raise Http404(_("There is no such step."))
    step.run = run
    back = reverse(f"{url_prefix(model_admin)}_change", args=[run.pk])
    allowed = page.verb.is_offered(run, steps, step)
    subject = Subject(run, is_allowed=allowed, step=step)
    form = page.form(request.POST if request.method == "POST" else None, step)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        results = perform(model_admin, request, page, [subject], reason, **form.details())
        if results.done or not allowed:
            report(request, page, results)
            return HttpResponseRedirect(back)
        form.add_error(None, results.refusals)
    elif not allowed:
        messages.error(request, not_allowed(page, run))
        return HttpResponseRedirect(back)
    about = {**_about(step), **_planned(page, step)}
    return show(model_admin, request, page, [subject], form, back=back, **about)


def _planned(page: VerbPage[StepVerb], step: Any) -> dict[str, Any]:
    """Return what a rewind would undo, and what it would let stand."""
    if not page.verb.takes_input:
        return {}
    rewind = operations.preview_rewind(step.run, step.name)
    return {"rewind": rewind, "planned": rewind.undone}


def _about(step: Any) -> dict[str, Any]:
    """Return what the page says of the step."""
    return {
        "step": step,
        "step_badge": state_badge(StepState(step.state)),
        "wait": waits_of(step.run, [step], step.read_at).get(step.pk),
    }
