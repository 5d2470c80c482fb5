"""What can be called as a handler, and where it stands."""

import inspect
from collections.abc import Collection

from sagas.exceptions import SagaDefinitionError


def takes_value(handler: object) -> bool:
    """Whether a handler takes one argument besides ``self``."""
    return inspect.isfunction(handler) and len(inspect.signature(handler).parameters) == 2  # noqa: PLR2004


def place_of(handler: object) -> str:
    """Return where a handler stands, as ``FulfilOrder.reserve_inventory``."""
    name = getattr(handler, "__qualname__", None) or repr(handler)
    return str(name).rpartition("<locals>.")[2]


def check_handler(
    handler: object,
    *,
    arguments: Collection[int],
    place: str,
    form: str = "(self)",
    may_yield: bool = False,
) -> None:
    """Refuse what cannot be called as a handler: with as many as one of ``arguments``.

    Raises:
        SagaDefinitionError: it is no plain synchronous function of such a form.
    """
    if not inspect.isfunction(handler):
        message = f"{place}: a handler is a plain method, not a {type(handler).__name__}."
        raise SagaDefinitionError(message)
    if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
        message = f"{place}: a handler cannot be async; call asgiref's async_to_sync() in it."
        raise SagaDefinitionError(message)
    if inspect.isgeneratorfunction(handler) and not may_yield:
        message = f"{place}: a handler cannot yield: its body would never run. Return a value."
        raise SagaDefinitionError(message)
    parameters = inspect.signature(handler).parameters.values()
    if len(parameters) not in arguments or any(map(_is_not_positional, parameters)):
        message = (
            f"{place}: a handler takes exactly {form};"
            " everything else it finds on self (and a decorator needs functools.wraps)."
        )
        raise SagaDefinitionError(message)


def _is_not_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind not in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
