"""Typed values survive the way to JSON and back, or are refused with the reason."""

import datetime as dt
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any
from uuid import UUID

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypedDict

from sagas.conf import MAX_ERROR_LENGTH
from sagas.exceptions import PayloadError, PayloadTooLarge
from sagas.payloads import Codec, check_size, truncate_error


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Level(IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal
    tags: frozenset[str] = frozenset()


@dataclass
class Order:
    id: UUID
    placed: dt.datetime
    lines: tuple[Line, ...]
    colour: Colour | None = None
    wait: dt.timedelta = field(default_factory=dt.timedelta)


class Address(TypedDict):
    street: str
    since: dt.date


class Customer(BaseModel):
    name: str = Field(alias="fullName")
    address: Address
    levels: dict[Level, float] = {}


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
AWARE = st.datetimes(
    min_value=dt.datetime(1900, 1, 1),  # noqa: DTZ001 hypothesis adds the offset
    max_value=dt.datetime(2900, 1, 1),  # noqa: DTZ001
    timezones=OFFSETS,
)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LINES = st.builds(Line, sku=TEXT, price=DECIMALS, tags=st.frozensets(TEXT, max_size=4))
ADDRESSES: st.SearchStrategy[Address] = st.fixed_dictionaries(  # type: ignore[assignment]  # a dict
    {"street": TEXT, "since": st.dates()}
)

ROUND_TRIPS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "None": (None, st.none()),
    "bool": (bool, st.booleans()),
    "int": (int, st.integers()),
    "float": (float, FLOATS),
    "str": (str, TEXT),
    "Decimal": (Decimal, DECIMALS),
    "UUID": (UUID, st.uuids()),
    "aware datetime": (dt.datetime, AWARE),
    "naive datetime": (dt.datetime, st.datetimes()),
    "date": (dt.date, st.dates()),
    "time": (dt.time, st.times()),
    "timedelta": (dt.timedelta, st.timedeltas()),
    "enum": (Colour, st.sampled_from(Colour)),
    "optional": (Line | None, LINES | st.none()),
    "union": (int | Line | list[Decimal], st.integers() | LINES | st.lists(DECIMALS, min_size=1)),
    "tuple": (tuple[int, str, Decimal], st.tuples(st.integers(), TEXT, DECIMALS)),
    "list of tuples": (list[tuple[dt.date, float]], st.lists(st.tuples(st.dates(), FLOATS))),
    "set": (set[int], st.sets(st.integers())),
    "dict by int": (dict[int, UUID], st.dictionaries(st.integers(), st.uuids())),
    "dict by UUID": (dict[UUID, str], st.dictionaries(st.uuids(), TEXT)),
    "dataclass": (
        Order,
        st.builds(
            Order,
            id=st.uuids(),
            placed=AWARE,
            lines=st.lists(LINES, max_size=3).map(tuple),
            colour=st.sampled_from([None, *Colour]),
            wait=st.timedeltas(),
        ),
    ),
    "TypedDict": (Address, ADDRESSES),
    "pydantic model": (
        Customer,
        st.builds(
            Customer,
            fullName=TEXT,
            address=ADDRESSES,
            levels=st.dictionaries(st.just(Level.LOW), FLOATS).map(lambda _: {}),
        ),
    ),
}


class TestRoundTrip:
    @pytest.mark.parametrize("kind", ROUND_TRIPS)
    @given(data=st.data())
    def test_a_value_comes_back_equal_and_of_the_same_type(
        self, kind: str, data: st.DataObject
    ) -> None:
        annotation, values = ROUND_TRIPS[kind]
        value = data.draw(values)
        codec: Codec[Any] = Codec(annotation)
        stored = json.loads(json.dumps(codec.dump(value, what="it")))
        loaded = codec.load(stored)
        assert loaded == value
        assert type(loaded) is type(value)

    @given(value=AWARE)
    def test_a_moment_keeps_its_microseconds_and_its_offset(self, value: dt.datetime) -> None:
        codec: Codec[dt.datetime] = Codec(dt.datetime)
        loaded = codec.load(codec.dump(value, what="it"))
        assert (loaded.microsecond, loaded.utcoffset()) == (value.microsecond, value.utcoffset())

    @given(value=DECIMALS)
    def test_a_decimal_keeps_its_trailing_zeros(self, value: Decimal) -> None:
        codec: Codec[Decimal] = Codec(Decimal)
        assert codec.load(codec.dump(value, what="it")).as_tuple() == value.as_tuple()

    def test_normalise_gives_what_a_reload_gives(self) -> None:
        codec: Codec[Any] = Codec(dict[str, Any])
        data, seen = codec.normalise({"price": Decimal("1.10")}, what="it")
        assert data == seen == codec.load(data) == {"price": "1.10"}

    def test_a_model_is_stored_by_field_names_and_loaded_by_alias_as_well(self) -> None:
        address: Address = {"street": "Elm", "since": dt.date(2020, 1, 2)}
        codec: Codec[Customer] = Codec(Customer)
        customer = Customer(fullName="Ada", address=address)
        assert codec.dump(customer, what="it") == {
            "name": "Ada",
            "address": {"street": "Elm", "since": "2020-01-02"},
            "levels": {},
        }
        by_alias = {"fullName": "Ada", "address": {"street": "Elm", "since": "2020-01-02"}}
        assert codec.load(by_alias) == customer

    def test_a_codec_is_shown_by_its_annotation(self) -> None:
        shown = [repr(Codec[Any](one)) for one in (Line, None, list[int], Line | None)]
        line = f"{Line.__module__}.Line"
        assert shown == ["Codec(Line)", "Codec(None)", "Codec(list[int])", f"Codec({line} | None)"]

    def test_the_members_of_a_set_have_no_order(self) -> None:
        codec: Codec[set[int]] = Codec(set[int])
        assert codec.same([1, 2], [2, 1])
        assert not codec.same([1, 2], [1, 3])


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class TestRefusals:
    @pytest.mark.parametrize(
        ("annotation", "value", "reason"),
        [
            (int, "1", "valid integer"),
            (str, 1, "valid string"),
            (None, 1, "is not a valid None"),
            (float, math.nan, "Out of range"),
            (float | None, math.inf, "Out of range"),
            (dict[str, Any], {"a": [-math.inf]}, "Out of range"),
            (Decimal, Decimal("NaN"), "finite"),
            (str, "a\x00b", "NUL"),
            (dict[str, str], {"a\x00": "b"}, "NUL"),
            (str, "\\\x00", "NUL"),
            (str, "\ud800", "surrogate|unicode"),
            (dict[str, Any], {"a": "\udfff"}, "surrogate"),
            (Line, {"sku": "a", "price": "1"}, "is not a valid Line"),
            (Line, Line(sku=1, price=Decimal(1)), "sku: Input should be a valid string"),  # type: ignore[arg-type]
            (list[Any], [object()], "is not a valid list"),
            (bytes, b"\xff", "cannot be stored as JSON"),
            (Address, {"street": "Elm"}, "since: Field required"),
            (Annotated[int, Field(gt=0)], -1, "greater than 0"),
            (Any, _nested(100_000), "is not a valid|cannot be stored"),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused_with_the_reason(
        self, annotation: Any, value: object, reason: str
    ) -> None:
        codec: Codec[Any] = Codec(annotation)
        with pytest.raises(PayloadError, match=f"^the input of shop.Order .*({reason})"):
            codec.dump(value, what="the input of shop.Order")

    def test_a_written_escape_is_no_nul(self) -> None:
        text = r"\u0000 and \\u0000"
        assert Codec[str](str).dump(text, what="it") == text

    def test_a_refusal_does_not_quote_the_value(self) -> None:
        with pytest.raises(PayloadError) as caught:
            Codec[Any](Line).dump({"sku": "hunter2", "price": "hunter2"}, what="it")
        assert "hunter2" not in str(caught.value)
        with pytest.raises(PayloadError) as caught:
            Codec[Any](Line).load({"sku": 1, "price": "hunter2"})
        assert "hunter2" not in str(caught.value)

    def test_more_complaints_than_are_told_are_counted(self) -> None:
        with pytest.raises(PayloadError, match="and 2 more"):
            Codec[Any](list[int]).load(["a", "b", "c", "d", "e"])

    @pytest.mark.parametrize("data", [math.nan, "\x00", "\ud800", {1, 2}])
    def test_loading_refuses_what_was_never_stored(self, data: Any) -> None:
        with pytest.raises(PayloadError):
            Codec[Any](str).load(data)

    def test_a_secret_would_be_stored_as_asterisks(self) -> None:
        class Account(BaseModel):
            password: SecretStr

        assert Codec[Any](Account).hides_its_value()
        assert not Codec[Any](Line).hides_its_value()
        assert not Codec[Any](Callable[[], int]).hides_its_value()


class TestSize:
    @pytest.mark.parametrize("character", ["a", "é", "😀"])
    def test_the_limit_counts_bytes_of_compact_utf8(self, character: str) -> None:
        text = character * 10
        size = len(json.dumps(text, ensure_ascii=False).encode())
        codec: Codec[str] = Codec(str)
        with override_settings(SAGAS={"MAX_PAYLOAD_BYTES": size}):
            assert codec.dump(text, what="it") == text
        with (
            override_settings(SAGAS={"MAX_PAYLOAD_BYTES": size - 1}),
            pytest.raises(PayloadTooLarge, match="pass a reference") as caught,
        ):
            codec.dump(text, what="it")
        assert (caught.value.size, caught.value.limit) == (size, size - 1)

    def test_data_without_annotation_is_measured_too(self) -> None:
        check_size({"a": 1}, what="the tags")
        with (
            override_settings(SAGAS={"MAX_PAYLOAD_BYTES": 6}),
            pytest.raises(PayloadTooLarge, match="the tags is 7 bytes"),
        ):
            check_size({"a": 1}, what="the tags")

    def test_a_payload_stored_under_a_higher_limit_is_still_loaded(self) -> None:
        with override_settings(SAGAS={"MAX_PAYLOAD_BYTES": 1}):
            assert Codec[str](str).load("long ago") == "long ago"


class TestTruncateError:
    @given(text=st.text(max_size=3000))
    def test_the_text_fits_and_is_what_postgresql_stores(self, text: str) -> None:
        cut = truncate_error(text * 3)
        assert len(cut.encode()) <= MAX_ERROR_LENGTH
        assert "\x00" not in cut

    @pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
    def test_a_long_text_is_cut_between_characters_and_says_so(self, character: str) -> None:
        cut = truncate_error(character * 10_000)
        assert MAX_ERROR_LENGTH - 4 < len(cut.encode()) <= MAX_ERROR_LENGTH
        assert cut.endswith(f"{character}… (cut)")

    def test_a_text_of_just_the_limit_is_whole(self) -> None:
        assert truncate_error("a" * MAX_ERROR_LENGTH) == "a" * MAX_ERROR_LENGTH

    def test_what_postgresql_refuses_is_replaced(self) -> None:
        assert truncate_error("a\x00b\ud800c") == "a\ufffdb?c"
