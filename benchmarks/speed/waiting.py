"""Steps that wait: five of 50 ms, on the pools that people use for such work, beside plain chains on each.

Run as ``python -m benchmarks.speed.waiting``. A processor has little to do here, so what counts is how
many steps wait at a time, and how many connections to PostgreSQL that takes.
"""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import psycopg

from benchmarks.plant.report import machine, table
from benchmarks.speed import report
from benchmarks.speed.applications.ledger import PAUSE_VARIABLE
from benchmarks.speed.contender import CHAIN, IN_PLACE, Contender, celery
from benchmarks.speed.figures import Record, as_object, ratio, write_results
from benchmarks.speed.measure import Lengths
from benchmarks.speed.rounds import Plan, take_rounds
from benchmarks.speed.system import System
from benchmarks.speed.targets import bounded


SECONDS = 0.05
ERRORS = re.compile(r"\b(?:ERROR|CRITICAL)\b|^Traceback", re.MULTILINE)
CONNECTIONS = """
    SELECT client_port FROM pg_stat_activity
    WHERE datname = 'postgres' AND backend_type = 'client backend'
"""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How a worker runs many steps at a time, and how it is connected to the database meanwhile."""

    name: str
    concurrency: int
    connections: int
    """Of a worker, at most, as docs/workers.md says."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workload(self) -> str:
        """What is told of it."""
        return f"5 steps of 50 ms, {self.name} {self.concurrency}"


POOLS = (
    Pool(name="prefork", concurrency=8, connections=2 * 8 + 1),
    Pool(name="threads", concurrency=64, connections=16, environment={"SAGAS_DB_POOL": "16"}),
    Pool(name="gevent", concurrency=100, connections=16, environment={"SAGAS_DB_POOL": "16"}),
)


@dataclass(kw_only=True)
class Seen:
    """What was seen of a system besides its speed."""

    connections: int = 0
    errors: int = 0


def pair(pool: Pool) -> tuple[Contender, Contender]:
    """Return the plain chain and ours, on one kind of pool."""
    found = [
        replace(
            one,
            workload=pool.workload,
            processes=pool.concurrency,
            worker=celery(application, pool.name),
            environment={**one.environment, **environment, PAUSE_VARIABLE: str(SECONDS)},
        )
        for one, application, environment in (
            (CHAIN, "{application}", {}),
            (IN_PLACE, "config", pool.environment),
        )
    ]
    return found[0], found[1]


def measure(
    pools: Sequence[Pool], rounds: int, seconds: float
) -> tuple[list[Record], dict[tuple[str, str], Seen]]:
    """Let them take turns; return a record for each, and what was seen, by name and workload."""
    seen: dict[tuple[str, str], Seen] = {}

    def before(system: System) -> None:
        own = seen[system.contender.name, system.contender.workload] = Seen()
        if not system.parts.postgres:
            return
        observer = psycopg.connect(
            f"{system.parts.postgres.rpartition('/')[0]}/observer", autocommit=True
        )

        def watch() -> None:
            ports = {port for (port,) in observer.execute(CONNECTIONS).fetchall()}
            if len(ports) > own.connections:
                # Those of whoever starts the sagas are not the worker's.
                starter = psutil.Process(system.client.process.pid).net_connections("tcp")
                ports -= {one.laddr.port for one in starter}
                own.connections = max(own.connections, len(ports))

        system.watch = watch

    def after(system: System) -> None:
        text = "\n".join(worker.log.read_text() for worker in system.workers)
        found = len(ERRORS.findall(text))
        seen[system.contender.name, system.contender.workload].errors = found

    records = take_rounds(
        Plan(
            contenders=[one for pool in pools for one in pair(pool)],
            rounds=rounds,
            lengths=Lengths(drain_seconds=seconds, latencies=5, latency_seconds=5),
            before=before,
            after=after,
        )
    )
    return records, seen


def text(
    pools: Sequence[Pool], records: Sequence[Record], seen: dict[tuple[str, str], Seen]
) -> str:
    """Return the table and the verdicts."""
    rows: list[list[object]] = []
    verdicts: list[tuple[object, ...]] = []
    for place, pool in enumerate(pools):
        chain, ours = records[2 * place : 2 * place + 2]
        rows += [_row(record, chain, pool, seen) for record in (chain, ours)]
        own = seen.get((ours.name, ours.workload), Seen())
        if pool.name != "prefork":
            found = ratio(ours, chain)
            verdicts.append(bounded(f"sagas/s on {pool.name}, ours ÷ chain()", found, least=1))
        for what, value, most in (
            (f"connections on {pool.name}", own.connections, pool.connections),
            (f"errors in the log on {pool.name}", own.errors, 0),
        ):
            kept = "met" if ours.done() and value <= most else "**missed**"
            verdicts.append((what, f"≤ {most}", value, kept))
    heads = ["pool", "", "to chain() [range]", "sagas/s", "worker CPU, ms", "memory, MiB"]
    heads += ["connections", "errors in the log"]
    return "\n\n".join(
        [
            f"{machine()}. {max(len(record.turns) for record in records)} rounds.",
            table(heads, rows, words=2),
            "What was to be shown, the ratios as medians within a round:",
            table(["", "target", "measured [range]", ""], verdicts),
        ]
    )


def _row(
    record: Record, chain: Record, pool: Pool, seen: dict[tuple[str, str], Seen]
) -> list[object]:
    title = f"{pool.name} {pool.concurrency}"
    if not record.done():
        return [title, record.name, f"absent ({record.absent})", *["-"] * 5]
    own = seen[record.name, record.workload]
    found = as_object(record, chain)
    figures = ("sagas_per_s", "worker_cpu_ms_per_saga", "worker_rss_mib")
    cells = [f"{found[name]:,.1f}" for name in figures]
    connections = own.connections if record is not chain else "-"
    return [title, record.name, ratio(record, chain) or "-", *cells, connections, own.errors]


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[pool.name for pool in POOLS], action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of draining, about, per turn")
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    parser.add_argument("--report", type=Path, help="a page to write a section of")
    given = parser.parse_args()
    pools = [pool for pool in POOLS if pool.name in (given.only or [pool.name])]
    records, seen = measure(pools, given.rounds, given.seconds)
    found = text(pools, records, seen)
    print(found)
    if given.results is not None:
        objects = [as_object(one, records[place & ~1]) for place, one in enumerate(records)]
        write_results(given.results, objects)
    if given.report is not None:
        report.write(given.report, "waiting", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
