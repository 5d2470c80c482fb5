"""Typed values become JSON and come back as the same typed values.

Whatever is stored was loaded once before: a handler sees on the first run what it sees after a
reload. A value that JSON or PostgreSQL cannot carry is refused with the reason, never altered.
"""

import json
import re
from collections.abc import Mapping
from types import GenericAlias
from typing import Any, Generic, TypeAlias, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import PydanticSerializationError

from sagas.conf import MAX_ERROR_LENGTH, saga_settings
from sagas.exceptions import PayloadError, PayloadTooLarge
from sagas.texts import mended, require_storable


T = TypeVar("T")

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_CUT = "… (cut)"
_COMPLAINTS_SHOWN = 3


class Codec(Generic[T]):
    """Carries values of one annotation to JSON and back.

    Dataclasses, TypedDicts, pydantic models, enums, ``Decimal``, ``UUID``, dates and times (with
    microseconds and offset), ``timedelta``, tuples, sets and what is built of them come back equal.
    Where an annotation lets one JSON text mean several types (``date | str``), the first that fits
    is what every handler sees, from the first run on.
    """

    def __init__(self, annotation: Any) -> None:
        """Build the codec.

        Raises:
            PydanticUserError: pydantic has no way to store this type, and says what to do.
        """
        self.annotation = annotation
        self._adapter: TypeAdapter[T] = TypeAdapter(annotation)
        # Only the outermost type's configuration reaches what is annotated Any, where an infinity
        # would become null. Inside a tuple it can be given for any annotation.
        one: Any = GenericAlias(tuple, (annotation,))
        config = ConfigDict(ser_json_inf_nan="constants")
        self._writer: TypeAdapter[tuple[T]] = TypeAdapter(one, config=config)

    def __repr__(self) -> str:
        """Name the annotation."""
        return f"Codec({annotation_name(self.annotation)})"

    def dump(self, value: T, *, what: str) -> JSON:
        """Return ``value`` as JSON data.

        ``what`` begins the error message: ``"the input of shop.FulfilOrder"``.

        Raises:
            PayloadError: the value does not fit the annotation, or JSON cannot carry it.
            PayloadTooLarge: it is larger than ``SAGAS["MAX_PAYLOAD_BYTES"]``.
        """
        return self.normalise(value, what=what)[0]

    def load(self, data: object, *, what: str = "the stored value") -> T:
        """Return the typed value of stored JSON data.

        Raises:
            PayloadError: the data does not fit the annotation.
        """
        return self._load(_encode(data, what), what)

    def normalise(self, value: T, *, what: str) -> tuple[JSON, T]:
        """Return the JSON data of ``value`` and what a handler will see of it.

        Raises:
            PayloadError: the value does not fit the annotation, or JSON cannot carry it.
            PayloadTooLarge: it is larger than ``SAGAS["MAX_PAYLOAD_BYTES"]``.
        """
        data = self._dump(value, what)
        encoded = _encode(data, what)
        _refuse_large(encoded, what)
        return data, self._load(encoded, what)

    def same(self, one: object, other: object) -> bool:
        """Whether two stored values mean the same: the members of a set have no order."""
        return one == other or self._plain(one) == self._plain(other)

    def hides_its_value(self) -> bool:
        """Whether the type is one that pydantic masks in JSON, such as ``SecretStr``."""
        try:
            schema = self._adapter.json_schema(mode="serialization")
        except PydanticInvalidForJsonSchema:
            return False
        return '"format": "password"' in json.dumps(schema)

    def json_types(self) -> set[str]:
        """Return what JSON its values are, such as ``{"object", "null"}``; empty where that is not said."""
        try:
            schema = self._adapter.json_schema(mode="serialization")
        except PydanticInvalidForJsonSchema:
            return set()
        alternatives = [schema, *schema.get("anyOf", ())]
        named = {f"#/$defs/{name}": part for name, part in schema.get("$defs", {}).items()}
        found = (named.get(part.get("$ref"), part).get("type") for part in alternatives)
        return {kind for kind in found if isinstance(kind, str)}

    def _dump(self, value: T, what: str) -> JSON:
        try:
            (data,) = self._writer.dump_python(
                (value,), mode="json", by_alias=False, round_trip=True, warnings="error"
            )
        except (PydanticSerializationError, AttributeError):  # the latter: a foreign dataclass
            raise PayloadError(self._misfit(value, what)) from None
        except Exception as error:  # a type's own code may raise whatever it likes
            message = f"{what} cannot be stored as JSON: {type(error).__name__}"
            raise PayloadError(message) from error
        return cast("JSON", data)

    def _load(self, encoded: bytes, what: str) -> T:
        try:
            return self._adapter.validate_json(encoded, strict=True, by_alias=True, by_name=True)
        except ValidationError as error:
            raise PayloadError(f"{what} is not a valid {self.name}: {_complaints(error)}") from None
        except Exception as error:  # a type's own code may raise whatever it likes
            message = f"{what} cannot be loaded as {self.name}: {type(error).__name__}"
            raise PayloadError(message) from error

    def _misfit(self, value: T, what: str) -> str:
        """Say where a value does not fit, without quoting it: it may be a secret."""
        try:
            encoded = self._adapter.dump_json(
                value, by_alias=False, round_trip=True, warnings=False
            )
            self._load(encoded, what)
        except PayloadError as error:
            return str(error)
        except Exception:  # noqa: BLE001, S110 what is wrong is said below
            pass
        return f"{what} is not a valid {self.name}: got {type(value).__name__}, or a field of another type"

    def _plain(self, data: object) -> Any:
        return self._adapter.dump_python(self.load(data), warnings=False)

    @property
    def name(self) -> str:
        """Its annotation as people write it."""
        return annotation_name(self.annotation)


def annotation_name(annotation: Any) -> str:
    """Return an annotation as people write it: ``Payment``, ``list[int]``, ``None``."""
    if annotation is None or annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def text_of(value: object) -> str:
    """Return ``str(value)`` as :func:`truncate_error` does; of what has no text, its type's name."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 it is about to be told of, and that must not fail
        text = ""
    return truncate_error(text or type(value).__name__)


def check_size(data: object, *, what: str) -> None:
    """Refuse JSON data that cannot be stored; for data that has no annotation, such as tags.

    Raises:
        PayloadError: it is no JSON that PostgreSQL stores.
        PayloadTooLarge: it is larger than ``SAGAS["MAX_PAYLOAD_BYTES"]``.
    """
    _refuse_large(_encode(data, what), what)


def check_tags(tags: Mapping[Any, Any], *, what: str) -> None:
    """Refuse tags that cannot be stored or looked for.

    Raises:
        PayloadError: a name or a value is no text that can be stored; it says which.
        PayloadTooLarge: they are larger than ``SAGAS["MAX_PAYLOAD_BYTES"]``.
    """
    limit = saga_settings().MAX_PAYLOAD_BYTES
    for name, value in tags.items():
        require_storable(name, what=f"a name among {what}", length=limit)
        require_storable(value, what=f"{name!r} of {what}", length=limit)
    if tags:
        check_size(tags, what=what)


def truncate_error(text: str) -> str:
    """Return ``text`` in at most ``MAX_ERROR_LENGTH`` bytes of UTF-8 that PostgreSQL stores."""
    # What is cut off below need not be mended first.
    encoded = mended(text[: MAX_ERROR_LENGTH + 1]).encode()
    if len(encoded) <= MAX_ERROR_LENGTH:
        return encoded.decode()
    room = MAX_ERROR_LENGTH - len(_CUT.encode())
    return encoded[:room].decode("utf-8", "ignore") + _CUT


def _encode(data: object, what: str) -> bytes:
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode()
    except UnicodeEncodeError:
        message = f"{what} holds half of a surrogate pair, which is not valid text; repair it first"
        raise PayloadError(message) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{what} cannot be stored as JSON: {error}") from None
    if b"\\u0000" in encoded and _NUL.search(encoded):
        message = f"{what} holds a NUL character, which PostgreSQL does not store; remove it"
        raise PayloadError(message)
    return encoded


def _refuse_large(encoded: bytes, what: str) -> None:
    size, limit = len(encoded), saga_settings().MAX_PAYLOAD_BYTES
    if size > limit:
        message = (
            f"{what} is {size} bytes of JSON, more than SAGAS['MAX_PAYLOAD_BYTES'] = {limit};"
            " store it elsewhere and pass a reference"
        )
        raise PayloadTooLarge(message, size=size, limit=limit)


def _complaints(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}"
        for item in found[:_COMPLAINTS_SHOWN]
    ]
    hidden = len(found) - len(shown)
    return "; ".join(shown) + (f"; and {hidden} more" if hidden else "")
