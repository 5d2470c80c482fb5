"""Fill the tables with copies of a saga that really ran, with its steps and its events."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import sql


Differing = Mapping[str, Mapping[str, str]]
"""Which columns of a copy differ from the original, by table."""

CHUNK = 20_000
"""Sagas per statement, so that a fill shows its progress and its rows lie together."""

# Time-ordered as real ids are, all of them before any real one.
OLD_ID = """
    CREATE FUNCTION pg_temp.old_id(saga bigint, number int) RETURNS uuid IMMUTABLE LANGUAGE sql
    AS $$ SELECT (lpad(to_hex(1500000000000 + saga), 12, '0') || '70008000'
                  || lpad(to_hex(number), 12, '0'))::uuid $$
"""

TEMPLATE = "SELECT id FROM sagas_sagarun WHERE state = 'completed' ORDER BY id DESC LIMIT 1"

FROM = {
    "sagas_sagarun": "sagas_sagarun t WHERE t.id = {template}",
    "sagas_steprun": "sagas_steprun t WHERE t.run_id = {template}",
    "sagas_sagaevent": (
        "sagas_sagaevent t LEFT JOIN sagas_steprun step ON step.id = t.step_id"
        " WHERE t.run_id = {template}"
    ),
}

FINISHED: Differing = {
    "sagas_sagarun": {"id": "pg_temp.old_id(g, 0)", "key": "'old-' || g"},
    "sagas_steprun": {
        "id": "pg_temp.old_id(g, 1 + t.position)",
        "run_id": "pg_temp.old_id(g, 0)",
        "idempotency_key": "pg_temp.old_id(g, 0) || ':' || t.name",
    },
    "sagas_sagaevent": {
        "run_id": "pg_temp.old_id(g, 0)",
        "step_id": "pg_temp.old_id(g, 1 + step.position)",
    },
}
"""An event's id comes from its sequence."""

WAITING: Differing = {
    **FINISHED,
    "sagas_sagarun": {
        **FINISHED["sagas_sagarun"],
        "state": "'running'",
        "remaining": "1",
        "completed_at": "NULL",
        "deadline": "now() + interval '1 day'",
    },
    "sagas_steprun": {
        **FINISHED["sagas_steprun"],
        "state": "CASE t.position WHEN 0 THEN 'ready' ELSE 'pending' END",
        "pending_predecessors": "least(t.position, 1)",
        "due_at": "now() + interval '1 hour'",
        "send_at": "now() + interval '1 hour'",
    },
}
"""Runs whose first step is tried again in an hour."""

MAKE_DUE = """
    UPDATE sagas_steprun SET due_at = now(), send_at = now() WHERE id IN
    (SELECT id FROM sagas_steprun WHERE state = 'ready' LIMIT %s)
"""


def fill(
    url: str,
    sagas: int,
    *,
    differing: Differing = FINISHED,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Copy the last completed saga so many times; ``told`` hears how many are there."""
    starts = range(1, sagas + 1, CHUNK)

    def copy(first: int) -> int:
        last = min(first + CHUNK, sagas + 1) - 1
        with psycopg.connect(url) as connection:
            # The copies keep every constraint; looking each of them up would take most of the time.
            connection.execute("SET session_replication_role = replica")
            connection.execute(OLD_ID)
            for table, columns in differing.items():
                connection.execute(_copying(connection, table, columns), (first, last))
        return last - first + 1

    done = 0
    with ThreadPoolExecutor(2) as pool:
        for number in pool.map(copy, starts):
            done += number
            told(done)
    with psycopg.connect(url, autocommit=True) as connection:
        for table in differing:
            connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))


def _copying(
    connection: "psycopg.Connection[Any]", table: str, columns: Mapping[str, str]
) -> sql.Composed:
    names = [
        name
        for (name,) in connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
            " AND table_schema = current_schema() AND is_identity = 'NO'",
            (table,),
        )
    ]
    values = [columns.get(name, f't."{name}"') for name in names]
    source = FROM[table].format(template=f"({TEMPLATE})")
    return sql.SQL(
        "INSERT INTO {} ({}) SELECT {} FROM generate_series(%s::bigint, %s) g, {}"
    ).format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.SQL, values)),
        sql.SQL(source),
    )
