"""``"order-{input.order_id}"``: keys and tags, written as templates over the input."""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagas.exceptions import SagaDefinitionError


class EmptyField(Exception):
    """A field of a template is None or empty."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A text with fields of the input; ``{input.customer.id}`` works on mappings as well."""

    text: str

    @classmethod
    def checked(cls, text: str, *, place: str) -> "Template":
        """Return the template.

        Raises:
            SagaDefinitionError: malformed, or a field that does not begin with ``input.``.
        """
        try:
            names = list(_field_names(text))
        except ValueError as error:
            raise SagaDefinitionError(
                f"{place}: {text!r} is not a valid template: {error}."
            ) from error
        for name in names:
            if not name.startswith("input."):
                message = (
                    f"{place}: field {{{name}}} must be a field of the input, as {{input.id}}."
                )
                raise SagaDefinitionError(message)
        return cls(text=text)

    def filled(self, saga_input: object) -> str:
        """Return the text for this input.

        Raises:
            EmptyField: a field is None or an empty text.
        """
        return _InputFormatter().vformat(self.text, (), {"input": saga_input})

    def first_attributes(self) -> set[str]:
        """Return the fields of the input itself that the template reads."""
        return {name.split(".")[1].partition("[")[0] for name in _field_names(self.text)}


class _InputFormatter(string.Formatter):
    """Follows dots through attributes and mapping keys alike, and refuses emptiness."""

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str]:
        first, *path = field_name.split(".")
        value, key = super().get_field(first, args, kwargs)
        for name in path:
            attribute, *indexes = name.split("[")
            value = value[attribute] if isinstance(value, Mapping) else getattr(value, attribute)
            for index in indexes:
                value = value[_index(index.removesuffix("]"))]
            if value is None or value == "":
                raise EmptyField(field_name)
        return value, str(key)


def _index(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _field_names(text: str) -> Iterator[str]:
    return (name for _, name, _, _ in string.Formatter().parse(text) if name is not None)
