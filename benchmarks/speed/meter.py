"""What a system used: processor time and memory of its workers, statements, commits, messages."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import redis


POSTGRES_OPTIONS = {"shared_preload_libraries": "pg_stat_statements"}

STATEMENTS = """
    SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
    JOIN pg_database ON pg_database.oid = dbid
    WHERE datname = 'postgres' AND query !~* '^(begin|commit|rollback|start transaction)'
    AND query NOT LIKE 'SELECT 1 FROM ONLY %'
"""
"""Without the edges of transactions, and without what foreign keys look up inside the server."""

COMMITS = """
    SELECT coalesce(sum(count), 0) FROM pg_get_wal_stats(%s::pg_lsn, %s::pg_lsn, true)
    WHERE "resource_manager/record_type" = 'Transaction/COMMIT'
"""
"""Commits that wrote something: what the database has to bring to its disk."""


class Statements:
    """Counts what reaches one PostgreSQL, seen from a database of the observer's own."""

    def __init__(self, url: str) -> None:
        """``url`` is that of the contender's database."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE observer")
        self._connection = psycopg.connect(f"{url.rpartition('/')[0]}/observer", autocommit=True)
        for extension in ("pg_stat_statements", "pg_walinspect"):
            self._connection.execute(f"CREATE EXTENSION {extension}")
        self._since = ""
        # Counting costs a little, so it is on only while something is counted.
        self._track("none")

    def begin(self) -> None:
        """Start counting."""
        self._track("top")
        self._connection.execute("SELECT pg_stat_statements_reset()")
        self._since = self._wal()

    def end(self) -> tuple[int, int]:
        """Stop counting; return statements, and commits that wrote."""
        self._track("none")
        statements = self._one(STATEMENTS)
        commits = self._one(COMMITS, self._since, self._wal())
        return int(statements), int(commits)

    def version(self) -> str:
        """Return the server's version."""
        return str(self._one("SHOW server_version")).split()[0]

    def close(self) -> None:
        """Leave the server."""
        self._connection.close()

    def _track(self, what: str) -> None:
        self._connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track = '{what}'")
        self._connection.execute("SELECT pg_reload_conf()")

    def _wal(self) -> str:
        # A logged change of our own makes everything before it reach the disk.
        self._connection.execute("SET synchronous_commit = on")
        self._connection.execute("CREATE TEMP TABLE mark (); DROP TABLE mark")
        return str(self._one("SELECT pg_current_wal_flush_lsn()"))

    def _one(self, statement: str, *values: str) -> Any:
        row = self._connection.execute(statement, values or None).fetchone()
        assert row is not None  # noqa: S101 each of these returns one row
        return row[0]


def messages(url: str) -> int:
    """Return how many messages were ever put into a list of this Redis."""
    with redis.Redis.from_url(url) as broker:
        commands: dict[str, Any] = broker.info("commandstats")
    return sum(commands.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("lpush", "rpush"))


@dataclass(frozen=True, kw_only=True)
class Use:
    """What processes have used since they began."""

    cpu_seconds: float
    memory_mib: float


def use_of(processes: Iterable[psutil.Process]) -> Use:
    """Return the processor time and the memory of processes; shared pages count by their share."""
    seconds = memory = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
            memory += process.memory_full_info().pss
    return Use(cpu_seconds=seconds, memory_mib=memory / 2**20)
