"""Texts from outside: what names something is refused with the reason, what only tells is mended."""

from typing import Any

import pytest

from sagas.exceptions import PayloadError
from sagas.texts import is_storable, mended, require_storable


UNSTORABLE = {"NUL": "a\x00b", "half a pair": "a\ud83d", "the other half": "\ude00b"}


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
def test_characters_that_no_database_stores_are_replaced_in_a_text_that_only_tells(
    text: str,
) -> None:
    assert not is_storable(text)
    assert is_storable(mended(text))
    assert len(mended(text)) == len(text)


@pytest.mark.parametrize("text", ["", "order-42", "é\U0001f600\n\t\x1f\ufffd"])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert is_storable(text)
    assert mended(text) == require_storable(text, what="a key", length=50) == text


def test_a_text_that_only_tells_is_cut_and_may_be_any_object() -> None:
    assert mended("abc", length=2) == "ab"
    assert mended(402) == "402"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("a\x00b", "a key holds a NUL character at place 1, .*; remove it"),
        ("ab\ud800", "a key holds half of a surrogate pair at place 2, .*; repair it"),
        ("abcdef", "a key has 6 characters, more than 5; shorten it"),
        (42, r"a key must be text, not int; convert it by str\(\)"),
        (b"k", "a key must be text, not bytes"),
        (None, "a key must be text, not NoneType"),
    ],
)
def test_a_text_that_names_something_is_refused_with_what_where_and_the_cure(
    value: Any, complaint: str
) -> None:
    with pytest.raises(PayloadError, match=complaint):
        require_storable(value, what="a key", length=5)
