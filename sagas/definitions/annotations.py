"""What the annotations of a saga say: the types of its input, results and compensations."""

import inspect
import typing
from collections.abc import Callable
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic.errors import PydanticUserError

from sagas.exceptions import SagaDefinitionError
from sagas.payloads import Codec, annotation_name


MISSING: Any = object()
"""Stands for an annotation that is not there."""


def result_annotation(handler: Callable[..., object], *, place: str) -> Any:
    """Return what ``handler`` says that it returns, or ``MISSING``.

    Raises:
        SagaDefinitionError: the annotation names something that cannot be found.
    """
    return _resolved(handler, place).get("return", MISSING)


def parameter_annotation(handler: Callable[..., object], *, place: str) -> Any:
    """Return the annotation of what a method takes besides ``self``, or ``MISSING``.

    Raises:
        SagaDefinitionError: the annotation names something that cannot be found.
    """
    hints = _resolved(handler, place)
    _, parameter = inspect.signature(handler).parameters
    return hints.get(parameter, MISSING)


def first_annotation(handler: Callable[..., object], *, place: str) -> Any:
    """Return the annotation of the first thing that ``handler`` takes, or ``MISSING``.

    Raises:
        SagaDefinitionError: the annotation names something that cannot be found.
    """
    hints = _resolved(handler, place)
    return hints.get(next(iter(inspect.signature(handler).parameters)), MISSING)


def input_annotation(saga: type, root: type) -> Any:
    """Return ``Order`` of ``class FulfilOrder(Saga[Order])``, through generic bases, or ``MISSING``.

    Raises:
        SagaDefinitionError: the annotation names something that cannot be found.
    """
    argument = _argument_of(saga, root)
    if argument is MISSING or isinstance(argument, TypeVar):
        return MISSING
    holder = type(
        saga.__name__, (), {"__annotations__": {"input": argument}, "__module__": saga.__module__}
    )
    return _resolved(holder, f"{saga.__name__}.input")["input"]


def codec_of(annotation: Any, *, what: str) -> Codec[Any]:
    """Return the codec of an annotation.

    Raises:
        SagaDefinitionError: it is missing, says nothing, or cannot be stored as JSON.
    """
    if annotation is MISSING:
        raise SagaDefinitionError(f"{what} has no annotation; say its type, None included.")
    if annotation is Any or annotation is object:
        raise SagaDefinitionError(f"{what} is {annotation}, which cannot be loaded again.")
    try:
        codec: Codec[Any] = Codec(annotation)
    except (PydanticUserError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        message = f"{what} is {annotation_name(annotation)}, which cannot be stored: {reason}"
        raise SagaDefinitionError(message) from error
    if codec.hides_its_value():
        message = (
            f"{what} holds a SecretStr, which would be stored as asterisks; store a reference."
        )
        raise SagaDefinitionError(message)
    return codec


def accepts(parameter: Any, result: Any) -> bool:
    """Whether a parameter takes ``result | None``; True as well where that cannot be judged."""
    taken = _members(parameter)
    if any(isinstance(member, TypeVar) for member in taken):
        return True
    return all(
        any(_takes(member, wanted) for member in taken)
        for wanted in {*_members(result), type(None)}
    )


def _takes(member: Any, wanted: Any) -> bool:
    if member is Any or member is object or member == wanted:
        return True
    if member is type(None) or wanted is type(None):
        return False
    try:
        return issubclass(wanted, member)
    except TypeError:
        # Generics, literals, TypedDicts and protocols: a type checker judges them, not this.
        return True


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is typing.Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [member for part in get_args(annotation) for member in _members(part)]
    return [type(None) if annotation is None else annotation]


def _argument_of(saga: type, root: type) -> Any:
    for base in saga.__dict__.get("__orig_bases__", saga.__bases__):
        origin = get_origin(base) or base
        if origin is root:
            return (*get_args(base), MISSING)[0]
        if isinstance(origin, type) and issubclass(origin, root):
            found = _argument_of(origin, root)
            if isinstance(found, TypeVar) and get_args(base):
                parameters = getattr(origin, "__parameters__", ())
                return get_args(base)[parameters.index(found)]
            return found
    return MISSING


def _resolved(annotated: Any, place: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        message = (
            f"{place}: an annotation cannot be resolved: {error}. Import the name at the top of"
            " the module, outside of TYPE_CHECKING."
        )
        raise SagaDefinitionError(message) from error
