"""What the package imports, it asks for; so that no other package has to bring it by chance."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

import sagas
from benchmarks.compatibility import lock


MODULES = sorted(Path(sagas.__file__).parent.rglob("*.py"))
TRANSPORTS = ["kombu.transport.redis", "kombu.transport.pyamqp"]
"""What `CELERY_BROKER_URL` makes a worker import, for the brokers that are supported."""

BY_NAME = {
    # In settings and URLs, not by an import statement.
    "redis": "the broker that most have",
    "psycopg": "the backend that Django imports for PostgreSQL",
    "django-celery-results": "CELERY_RESULT_BACKEND = 'django-db'",
}


def imported(path: Path) -> set[str]:
    """Return the top-level names of other packages that a module cannot do without."""
    return {name for name in _names(ast.parse(path.read_text())) if _is_foreign(name)}


def _is_foreign(name: str) -> bool:
    return name not in sys.stdlib_module_names and name != "sagas"


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Try) or _is_for_types(node):
        return  # it goes on without what is missing
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.split(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def distributions_of(names: set[str]) -> set[str]:
    """Return the names under which an installer knows these modules."""
    known = packages_distributions()
    return {canonicalize_name(known[name][0]) for name in names}


DECLARED = {canonicalize_name(requirement.name) for requirement in lock.declared()}


def test_every_module_that_is_imported_is_declared() -> None:
    names = set().union(*(imported(path) for path in MODULES))
    assert {"celery", "django", "kombu"} <= names
    assert distributions_of(names) <= DECLARED


def test_nothing_is_declared_that_is_not_used() -> None:
    names = set().union(*(imported(path) for path in MODULES))
    assert distributions_of(names) | set(BY_NAME) == DECLARED


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_a_transport_imports_follows_from_what_is_declared(transport: str) -> None:
    spec = find_spec(transport)
    assert spec is not None
    assert spec.origin is not None
    names = imported(Path(spec.origin))
    assert names, "it imports at least what it is a transport for"
    brought = {canonicalize_name(one.name) for one in lock.closure(lock.declared())}
    assert distributions_of(names) <= brought


def test_an_import_is_seen_wherever_it_stands(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import os, celery.app\nfrom . import here\ntry:\n    import simplejson\n"
        "except ImportError: ...\nif TYPE_CHECKING:\n    import mypy\ndef later():\n    from redis.client import Redis\n"
    )
    assert imported(module) == {"celery", "redis"}
