"""What a verb wants to know before it is done."""

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sagas import operations
from sagas.exceptions import SagaError
from sagas.models import StepRun
from sagas.operations.approving import approvals_of
from sagas.operations.results import has_no_result


if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class ReasonForm(forms.Form):
    """Why the operator does it; kept with the saga's events and in the admin's history."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True}),
        help_text=gettext_lazy("Kept with the saga for whoever looks at it after you."),
    )

    def __init__(self, data: Any, _step: StepRun | None = None) -> None:
        """``data`` is what was posted, or None; the step is what the verb is done to, if it is to one."""
        super().__init__(data)

    def details(self) -> dict[str, object]:
        """Return what else was typed in, as the verb's own options."""
        return {}


class ResultForm(ReasonForm):
    """Why, and with which result. A compensation has none, so it is not asked for one."""

    result = forms.CharField(
        label=gettext_lazy("Result"),
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "saga-code"}),
    )
    what_it_is: "StrOrPromise" = gettext_lazy("What the step returned, as JSON:")
    when_empty: "StrOrPromise" = gettext_lazy("Leave empty for null.")

    def __init__(self, data: Any, step: StepRun) -> None:
        """Say of what type the result of ``step`` is, if it has one."""
        super().__init__(data)
        self._step = step
        if step.is_backward:
            del self.fields["result"]
        else:
            self.fields["result"].help_text = self._help_text()

    def _help_text(self) -> str:
        try:
            type_name = operations.result_type(self._step.run, self._step.name)
        except SagaError as error:
            return str(error)
        text = f"{self.what_it_is} {type_name}."
        return f"{text} {self.when_empty}"

    def clean_result(self) -> dict[str, object]:
        """Return the result as an option of the verb."""
        try:
            data = json.loads(self.cleaned_data["result"] or "null")
            return {"result": operations.result_from_json(self._step.run, self._step.name, data)}
        except SagaError as error:
            raise forms.ValidationError(str(error)) from None
        except ValueError as error:
            message = _("This is not valid JSON: %(error)s") % {"error": error}
            raise forms.ValidationError(message) from None

    def details(self) -> dict[str, object]:
        """Return the result, as the verb takes it."""
        result: dict[str, object] = self.cleaned_data.get("result", {})
        return result


class ApprovalForm(ResultForm):
    """Why, and with which result, if the step has one; of two people the second sees the first's."""

    what_it_is = gettext_lazy("What you approve, as JSON:")

    def __init__(self, data: Any, step: StepRun) -> None:
        """Ask for no result where there is none."""
        super().__init__(data, step)
        before = approvals_of(step)
        if "result" not in self.fields:
            return
        if has_no_result(step):
            del self.fields["result"]
        elif before:
            self.initial["result"] = json.dumps(before[-1]["output"], ensure_ascii=False)


class OptionalResultForm(ResultForm):
    """Why, and perhaps with a result."""

    when_empty = gettext_lazy("Leave empty to skip it without a result.")

    def clean_result(self) -> dict[str, object]:
        """Return the result as an option of the verb; none if there is none."""
        return super().clean_result() if self.cleaned_data["result"] else {}


class RewindForm(ReasonForm):
    """Why, and with which input."""

    input = forms.CharField(
        label=gettext_lazy("Corrected input"),
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "saga-code"}),
    )

    def __init__(self, data: Any, step: StepRun) -> None:
        """Say of what type the input of the saga is."""
        super().__init__(data)
        self._step = step
        try:
            type_name = operations.input_type(step.run)
        except SagaError as error:
            self.fields["input"].help_text = str(error)
        else:
            text = _("The input of the saga, whole, as JSON: %(type)s. Leave empty to keep it.")
            self.fields["input"].help_text = text % {"type": type_name}

    def clean_input(self) -> object:
        """Return the input as the verb takes it; None when the old one is kept."""
        text = self.cleaned_data["input"]
        if not text:
            return None
        try:
            return operations.input_from_json(self._step.run, json.loads(text))
        except SagaError as error:
            raise forms.ValidationError(str(error)) from None
        except (ValueError, RecursionError) as error:
            message = _("This is not valid JSON: %(error)s") % {"error": error}
            raise forms.ValidationError(message) from None

    def details(self) -> dict[str, object]:
        """Return the input, as the verb takes it."""
        return {"input": self.cleaned_data["input"]}


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
