"""What start_saga() refuses, with which code; nothing is written then (R8, R61, R65, R118)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from sagas import Saga, SagaError, start_saga
from sagas.definitions import registry
from sagas.exceptions import (
    IdempotencyRequired,
    PayloadError,
    PayloadTooLarge,
    SagaDefinitionError,
    UnknownSaga,
)
from tests.driving import nothing_is_written
from tests.traced import Five, Script
from tests.typed import PARCEL, TwoDoors, Typed, Words


pytestmark = pytest.mark.django_db(transaction=True)

start: Any = start_saga
words: Any = Words
"""As code calls them that no type checker has seen."""


def _without_steps() -> None:
    with registry.isolated():

        class Hollow(Saga[Words]):
            class Meta:
                label = "tests.Hollow"

        start(Hollow, Words("x"), key="k")


WRONG: dict[str, tuple[Callable[[], object], type[SagaError], str]] = {
    "an unknown label": (lambda: start("no.Such", {}, key="k"), UnknownSaga, "UNKNOWN_SAGA"),
    "no key": (
        lambda: start(Five, Script()),
        IdempotencyRequired,
        "IDEMPOTENCY_REQUIRED",
    ),
    "a blank key": (
        lambda: start(Five, Script(), key="  "),
        IdempotencyRequired,
        "IDEMPOTENCY_REQUIRED",
    ),
    "an empty field of Meta.key": (
        lambda: start(Typed, replace(PARCEL, order_id="")),
        IdempotencyRequired,
        "IDEMPOTENCY_REQUIRED",
    ),
    "NUL in the key": (
        lambda: start(Five, Script(), key="a\x00b"),
        PayloadError,
        "PAYLOAD",
    ),
    "a key too long": (
        lambda: start(Five, Script(), key="k" * 201),
        PayloadError,
        "PAYLOAD",
    ),
    "another type": (
        lambda: start(Five, Words("x"), key="k"),
        PayloadError,
        "PAYLOAD",
    ),
    "a field of another type": (
        lambda: start(TwoDoors, words(7), key="k"),
        PayloadError,
        "PAYLOAD",
    ),
    "plain data that does not fit": (
        lambda: start("tests.TwoDoors", {"txt": "x"}, key="k"),
        PayloadError,
        "PAYLOAD",
    ),
    "NUL in the input": (
        lambda: start(TwoDoors, Words("a\x00b"), key="k"),
        PayloadError,
        "PAYLOAD",
    ),
    "a payload too large": (
        lambda: start(TwoDoors, Words("x" * 300_000), key="k"),
        PayloadTooLarge,
        "PAYLOAD_TOO_LARGE",
    ),
    "tags that are no text": (
        lambda: start(Five, Script(), key="k", tags={"n": 7}),
        PayloadError,
        "PAYLOAD",
    ),
    "a saga with no steps": (_without_steps, SagaDefinitionError, "SAGA_DEFINITION"),
}


class TestRefusals:
    @pytest.mark.parametrize("name", WRONG)
    def test_what_cannot_be_started_is_refused_with_a_code_and_nothing_is_written(
        self, name: str, messages: list[str]
    ) -> None:
        attempt, error, code = WRONG[name]
        with transaction.atomic():
            with pytest.raises(error) as caught:
                attempt()
            Group.objects.create(name="the transaction goes on")
        assert type(caught.value) is error
        assert isinstance(caught.value, SagaError)
        assert caught.value.code == code
        assert nothing_is_written()
        assert Group.objects.exists()
        assert messages == []
