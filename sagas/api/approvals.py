"""``approvals/<token>/``: a person decides by a link that was made for them, without logging in.

The link is the authority, so that it is signed, made for one person, ends, and is good for one request.
To look at the page decides nothing: mail scanners follow links, and only its buttons post.
"""

import json
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from sagas.definitions.tokens import BadSignature, read_approval_token
from sagas.exceptions import (
    ActionNotAllowed,
    ActionNotPermitted,
    SagaError,
    TransactionLocked,
    UnknownHandler,
    UnknownSaga,
)
from sagas.models import StepRun
from sagas.models.explaining import end_of_wait
from sagas.operations import approve_step, reject_step, result_from_json, result_type
from sagas.operations.approving import approvals_needed, approvals_of, may_decide
from sagas.operations.results import has_no_result
from sagas.states import StepState


TEMPLATE = "sagas/approval.html"


class DecisionForm(forms.Form):
    """Why, and with which result if the step has one."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"), max_length=500, widget=forms.Textarea(attrs={"rows": 3})
    )
    result = forms.CharField(
        label=gettext_lazy("Result, as JSON"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )

    def __init__(self, data: Any, step: StepRun) -> None:
        """``step`` is the one that waits; the second of two people sees what the first one approved."""
        super().__init__(data)
        self._step = step
        if has_no_result(step):
            del self.fields["result"]
            return
        self.fields["result"].help_text = result_type(step.run, step.name)
        for approval in approvals_of(step):
            self.initial["result"] = json.dumps(approval["output"], ensure_ascii=False)

    def clean(self) -> dict[str, Any]:
        """Refuse what was posted by neither button."""
        if ("approve" in self.data) == ("reject" in self.data):
            raise forms.ValidationError(_("Approve or reject it, by one of the two buttons."))
        return self.cleaned_data

    def clean_result(self) -> object:
        """Return the result, of the step's type. A rejection has none."""
        if "reject" in self.data:
            return None
        try:
            data = json.loads(self.cleaned_data["result"] or "null")
            return result_from_json(self._step.run, self._step.name, data)
        except (SagaError, ValueError, RecursionError) as error:
            raise forms.ValidationError(str(error)) from None


@csrf_exempt  # there is no login that another page could misuse: the address itself is the authority
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@xframe_options_deny
@transaction.non_atomic_requests
def approval(request: HttpRequest, token: str) -> HttpResponse:
    """Show what is to be decided; a POST with a reason decides it."""
    try:
        named, user_id = read_approval_token(token)
    except BadSignature:
        return _page(request, 403, told=_("This link is not valid, or not any more."))
    step = (
        StepRun.objects.select_related("run").defer("run__input").filter(pk=named.step_id).first()
    )
    users = get_user_model()._default_manager  # noqa: SLF001 documented by Django
    user = users.filter(pk=user_id).first()
    if step is None or user is None or not may_decide(step, user):
        return _page(request, 403, told=_("This link is not valid, or not any more."))
    if step.state != StepState.WAITING or step.fence != named.fence or not step.is_approval:
        return _page(request, 409, told=_("This has been decided, or is not asked any more."))
    try:
        form = DecisionForm(request.POST if request.method == "POST" else None, step)
    except (UnknownSaga, UnknownHandler):
        return _page(request, 503, told=_("This cannot be decided right now. Try again later."))
    if form.is_valid():
        return _decide(request, step, user, form)
    return _asked(request, 400 if form.is_bound else 200, step, user, form)


def _decide(request: HttpRequest, step: StepRun, user: Any, form: DecisionForm) -> HttpResponse:
    run, name = step.run, str(step.pk)
    given: dict[str, Any] = {"request": step.fence, "reason": form.cleaned_data["reason"]}
    try:
        if "reject" in request.POST:
            reject_step(run, name, actor=user, **given)
            return _page(request, 200, told=_("You rejected it."))
        approve_step(run, name, actor=user, result=form.cleaned_data.get("result"), **given)
    except TransactionLocked:
        form.add_error(None, _("It is being changed right now; nothing was decided. Try again."))
        return _asked(request, 503, step, user, form)
    except (ActionNotAllowed, ActionNotPermitted):
        told = _("Nothing was decided: you have approved it before, or it is not asked any more.")
        return _page(request, 409, told=told)
    if StepRun.objects.get(pk=step.pk).state == StepState.WAITING:
        return _page(
            request, 200, told=_("You approved it. Somebody else is to approve it as well.")
        )
    return _page(request, 200, told=_("You approved it."))


def _asked(
    request: HttpRequest, status: int, step: StepRun, user: Any, form: DecisionForm
) -> HttpResponse:
    return _page(
        request,
        status,
        step=step,
        run=step.run,
        person=user.get_username(),
        form=form,
        approved_by=[given["name"] for given in approvals_of(step)],
        needed=approvals_needed(step),
        until=end_of_wait(step.run, step)[0],
    )


def _page(request: HttpRequest, status: int, **facts: Any) -> HttpResponse:
    response = TemplateResponse(request, TEMPLATE, facts, status=status)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
