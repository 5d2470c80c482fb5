"""What a source file says of its names: the sentence below each of them."""

import ast
import inspect
import itertools
import re
import textwrap
from types import ModuleType


_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
"""A reference of Sphinx; what is kept is the last name."""


def sentences(cls: type) -> dict[str, str]:
    """Return the docstring below each attribute of a class body, on one line, by the attribute's name."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 what a class's source is
    return _below(definition.body)


def sentences_of_module(module: ModuleType) -> dict[str, str]:
    """Return the docstring below each name that a module assigns."""
    return _below(ast.parse(inspect.getsource(module)).body)


def _below(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for statement, following in itertools.pairwise(body):
        name = _assigned(statement)
        if name and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[name] = one_line(str(following.value.value))
    return found


def _assigned(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target)
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return ast.unparse(statement.targets[0])
    return ""


def one_line(text: str) -> str:
    """Return a docstring as Markdown on one line."""
    without_roles = _ROLE.sub(r"``\1``", " ".join(text.split()))
    return without_roles.replace("``", "`")
