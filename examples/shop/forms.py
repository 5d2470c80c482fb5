"""The order form."""

import uuid
from typing import Any

from django import forms

from examples.shop.catalogue import COUNTRIES, HOME_COUNTRY, PRODUCTS
from examples.shop.failures import COMPENSATIONS
from examples.shop.order_input import FailHow
from examples.shop.orders import Wish
from examples.shop.sagas import FulfilOrder


NO_FAILURE = ("", "Nothing goes wrong")


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _failure_points() -> list[tuple[str, str | list[tuple[str, str]]]]:
    steps = [(step.name, _in_words(step.name)) for step in FulfilOrder.definition.steps]
    undoing = [(name, _in_words(name)) for name in COMPENSATIONS]
    return [NO_FAILURE, ("A step fails", steps), ("Undoing fails", undoing)]


class OrderForm(forms.Form):
    """What to buy, and what shall go wrong on the way."""

    form_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    customer = forms.CharField(max_length=80)
    sku = forms.ChoiceField(
        label="Product",
        choices=[(sku, f"{item.name}, €{item.price}") for sku, item in PRODUCTS.items()],
    )
    quantity = forms.IntegerField(min_value=1, max_value=100, initial=1)
    country = forms.ChoiceField(
        label="Deliver to",
        choices=list(COUNTRIES.items()),
        initial=HOME_COUNTRY,
        help_text="Orders from abroad need customs papers.",
    )
    fail_at = forms.ChoiceField(label="What goes wrong", choices=_failure_points, required=False)
    fail_how = forms.ChoiceField(label="How", choices=FailHow.choices, required=False)

    def clean(self) -> dict[str, Any]:
        """Refuse a failure that could not happen."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("fail_at") == "customs_papers" and data.get("country") == HOME_COUNTRY:
            self.add_error("fail_at", "Customs papers are drawn up for orders abroad only.")
        if data.get("fail_at") and not data.get("fail_how"):
            self.add_error("fail_how", "Choose how it goes wrong.")
        return data

    def wish(self) -> Wish:
        """Return what a valid form asks for."""
        data = self.cleaned_data
        return Wish(
            form_key=data["form_key"],
            customer_id=data["customer"],
            sku=data["sku"],
            quantity=data["quantity"],
            country=data["country"],
            fail_at=data["fail_at"],
            fail_how=data["fail_how"] if data["fail_at"] else "",
        )
