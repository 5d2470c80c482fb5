"""What a handler's own source says that it raises."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any


def raises(handler: Callable[..., object], error: type[BaseException]) -> bool:
    """Whether the body of ``handler`` has a ``raise`` of ``error``, or of a class below it.

    Only what stands in its own source counts, by the name that it has there: neither a mention
    without ``raise``, nor another thing of the same name, nor what a function that it calls does.
    """
    function = inspect.unwrap(handler)
    scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for name in (*function.__code__.co_varnames, *function.__code__.co_cellvars):
        scope.pop(name, None)
    values = [_value(raised, scope) for raised in _raised(function)]
    return any(isinstance(value, type) and issubclass(value, error) for value in values)


def _raised(function: Callable[..., object]) -> Iterator[ast.expr]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return  # made without a file, or written on one line with something else
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield node.exc.func if isinstance(node.exc, ast.Call) else node.exc


def _value(expression: ast.expr, scope: dict[str, Any]) -> Any:
    """Return what a name, plain or dotted, stands for; None when that is not known."""
    if isinstance(expression, ast.Name):
        return scope.get(expression.id)
    if isinstance(expression, ast.Attribute):
        return getattr(_value(expression.value, scope), expression.attr, None)
    return None
