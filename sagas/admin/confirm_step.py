"""Doing a verb to one step: as to a run, and what was typed in survives a refusal."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sagas import operations
from sagas.admin.badges import state_badge
from sagas.admin.confirm import ReasonForm, Subject, not_allowed, page, perform, report, url_prefix
from sagas.admin.verbs import SKIP_STEP, Verb
from sagas.exceptions import SagaError
from sagas.models import SagaRun, StepRun
from sagas.states import StepState


class ResultForm(ReasonForm):
    """Why, and with which result."""

    result = forms.CharField(
        label=gettext_lazy("Result"),
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "saga-code"}),
    )

    def __init__(self, step: StepRun, *args: Any) -> None:
        """Ask for a result of this step."""
        super().__init__(*args)
        self._step = step
        try:
            type_name = operations.result_type(step.run, step.name)
        except SagaError as error:
            self.fields["result"].help_text = str(error)
            return
        text = _(
            "What the step returned, as JSON: %(type)s. Empty: it is skipped without a result."
        )
        self.fields["result"].help_text = text % {"type": type_name}

    def clean_result(self) -> dict[str, object]:
        """Return the result as an option of the verb; none if nothing was typed in."""
        text = self.cleaned_data["result"]
        if not text:
            return {}
        try:
            data = json.loads(text)
            return {"result": operations.result_from_json(self._step.run, self._step.name, data)}
        except SagaError as error:
            raise forms.ValidationError(str(error)) from None
        except ValueError as error:
            message = _("This is no JSON: %(error)s") % {"error": error}
            raise forms.ValidationError(message) from None


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
    steps = list(run.steps.defer("input", "output")) if run else []
    # Backward rows come last: of a step that is being undone, its compensation is meant.
    step = {row.name: row for row in sorted(steps, key=lambda row: row.is_backward)}.get(name)
    if run is None or step is None:
        raise Http404(_("There is no such step."))
    step.run = run
    back = reverse(f"{url_prefix(model_admin)}_change", args=[run.pk])
    allowed = verb.name in operations.allowed_step_actions(run, steps).get(name, ())
    subject = Subject(run, is_allowed=allowed, step=step)
    form = _form(step, verb, request)
    if form.is_valid():
        details = {"name": name, **form.cleaned_data.get("result", {})}
        reason = form.cleaned_data["reason"]
        results = perform(model_admin, request, verb, [subject], reason, **details)
        if results.done or not allowed:
            report(request, verb, results)
            return HttpResponseRedirect(back)
        form.add_error(None, results.refusals)
    elif not allowed:
        messages.error(request, not_allowed(verb, run))
        return HttpResponseRedirect(back)
    badge = state_badge(StepState(step.state))
    return page(model_admin, request, verb, [subject], form, back=back, step=step, step_badge=badge)


def _form(step: StepRun, verb: Verb, request: HttpRequest) -> ReasonForm:
    data = request.POST if request.method == "POST" else None
    has_result = verb is SKIP_STEP and not step.is_backward
    return ResultForm(step, data) if has_result else ReasonForm(data)
