"""What a verb wants to know before it is done to a step."""

import json
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sagas import operations
from sagas.admin.confirm import ReasonForm
from sagas.admin.verbs import FAIL_STEP, SKIP_STEP, Verb
from sagas.exceptions import SagaError
from sagas.models import StepRun


class ResultForm(ReasonForm):
    """Why, and with which result."""

    result = forms.CharField(
        label=gettext_lazy("Result"),
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "saga-code"}),
    )

    def __init__(self, step: StepRun, verb: Verb, *args: Any) -> None:
        """Ask for a result of this step."""
        super().__init__(*args)
        self._step = step
        self._verb = verb
        try:
            type_name = operations.result_type(step.run, step.name)
        except SagaError as error:
            self.fields["result"].help_text = str(error)
            return
        text = _("What the step returned, as JSON: %(type)s.") % {"type": type_name}
        self.fields["result"].help_text = f"{text} {verb.without_result}"

    def clean_result(self) -> dict[str, object]:
        """Return the result as an option of the verb; none if it is skipped without one."""
        text = self.cleaned_data["result"]
        if not text and self._verb is SKIP_STEP:
            return {}
        try:
            data = json.loads(text or "null")
            return {"result": operations.result_from_json(self._step.run, self._step.name, data)}
        except SagaError as error:
            raise forms.ValidationError(str(error)) from None
        except ValueError as error:
            message = _("This is not valid JSON: %(error)s") % {"error": error}
            raise forms.ValidationError(message) from None

    def details(self) -> dict[str, object]:
        """Return the result, as the verb takes it."""
        result: dict[str, object] = self.cleaned_data["result"]
        return result


class FailureForm(ReasonForm):
    """Why, and with which error."""

    error = forms.CharField(
        label=gettext_lazy("Error"),
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy(
            "Becomes that of the step, and of the saga if it turns back. Leave empty to use the reason."
        ),
    )
    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=100,
        required=False,
        widget=forms.TextInput(attrs={"spellcheck": "false", "class": "saga-code"}),
        help_text=gettext_lazy("An error code for programs. Leave empty for FAILED_OUTSIDE."),
    )

    def details(self) -> dict[str, object]:
        """Return the error and, if one was typed in, its code."""
        code = self.cleaned_data["code"]
        error = self.cleaned_data["error"] or self.cleaned_data["reason"]
        return {"error": error, **({"code": code} if code else {})}


def form_of(verb: Verb, step: StepRun, data: Any) -> ReasonForm:
    """Return what this verb asks of this step; a compensation has no result."""
    if verb is FAIL_STEP:
        return FailureForm(data)
    if verb.without_result and not step.is_backward:
        return ResultForm(step, verb, data)
    return ReasonForm(data)
