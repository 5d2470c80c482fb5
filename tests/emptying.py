"""After a test that commits, its rows are removed; not every table, and not what Django has made.

Django empties each table and then makes content types and permissions anew, after every such test.
"""

from functools import cache

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase


def install() -> None:
    """Let tests that commit end so."""
    TransactionTestCase._fixture_teardown = _empty  # type: ignore[attr-defined]


def _empty(test: TransactionTestCase) -> None:
    for alias in test._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        connection = connections[alias]
        if written := _with_rows(connection):
            flush = connection.ops.sql_flush(no_style(), written, allow_cascade=True)
            connection.ops.execute_sql_flush(flush)


def _with_rows(connection: BaseDatabaseWrapper) -> list[str]:
    quote = connection.ops.quote_name
    question = " UNION ALL ".join(
        f"SELECT {number} WHERE EXISTS (SELECT 1 FROM {quote(table)})"  # noqa: S608
        for number, table in enumerate(_tables(connection))
    )
    with connection.cursor() as cursor:
        cursor.execute(question)
        return [_tables(connection)[number] for (number,) in cursor.fetchall()]


@cache
def _tables(connection: BaseDatabaseWrapper) -> list[str]:
    kept = {ContentType._meta.db_table, Permission._meta.db_table}
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(tables) - kept)
