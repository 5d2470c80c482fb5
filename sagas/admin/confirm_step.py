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
from sagas.admin.confirm import Subject, not_allowed, page, perform, report, url_prefix
from sagas.admin.step_forms import form_of
from sagas.admin.verbs import Verb
from sagas.admin.waits import waits_of
from sagas.states import StepState


if TYPE_CHECKING:
    from sagas.models import SagaRun


def confirm_step(
    model_admin: "admin.ModelAdmin[SagaRun]",
    request: HttpRequest,
    run_id: str,
    name: str,
    verb: Verb,
) -> HttpResponse:
    """Show or carry out ``verb`` on one step of a run; only a POST with a reason does anything."""
    run = model_admin.get_object(request, run_id)
    if not (verb.is_permitted(request) and model_admin.has_view_permission(request, run)):
        raise PermissionDenied
    steps: list[Any] = (
        list(run.steps.defer("input", "output").annotate(read_at=Now())) if run else []
    )
    # Backward rows come last: of a step that is being undone, its compensation is meant.
    step = {row.name: row for row in sorted(steps, key=lambda row: row.is_backward)}.get(name)
    if run is None or step is None:
        raise Http404(_("There is no such step."))
    step.run = run
    back = reverse(f"{url_prefix(model_admin)}_change", args=[run.pk])
    allowed = verb.name in operations.allowed_step_actions(run, steps).get(name, ())
    subject = Subject(run, is_allowed=allowed, step=step)
    form = form_of(verb, step, request.POST if request.method == "POST" else None)
    if form.is_valid():
        details = {"name": verb.name_of(step), **form.details()}
        reason = form.cleaned_data["reason"]
        results = perform(model_admin, request, verb, [subject], reason, **details)
        if results.done or not allowed:
            report(request, verb, results)
            return HttpResponseRedirect(back)
        form.add_error(None, results.refusals)
    elif not allowed:
        messages.error(request, not_allowed(verb, run))
        return HttpResponseRedirect(back)
    shown = {
        "step": step,
        "step_badge": state_badge(StepState(step.state)),
        "wait": waits_of(run, [step], step.read_at).get(step.pk),
    }
    return page(model_admin, request, verb, [subject], form, back=back, **shown)
