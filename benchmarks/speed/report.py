"""The tables: who did what, and what of it was to be shown."""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.plant.report import machine, table, write_section
from benchmarks.speed.contender import IN_PLACE
from benchmarks.speed.figures import Record, as_object, rate, ratio
from benchmarks.speed.targets import verdicts


WANTED = 10_000

COLUMNS = {
    "sagas_per_s": "sagas/s",
    "latency_p50_ms": "idle p50, ms",
    "latency_p99_ms": "idle p99, ms",
    "statements_per_saga": "statements",
    "commits_per_saga": "commits",
    "messages_per_saga": "messages",
    "worker_cpu_ms_per_saga": "worker CPU, ms",
    "worker_rss_mib": "memory, MiB",
}
"""Fields of the results, with their heads; statements to CPU are per saga."""


def comparison(records: Sequence[Record]) -> str:
    """Return the contenders' table and the verdicts; the first record is the baseline."""
    rounds = max((len(record.turns) for record in records), default=0)
    heads = ["contender", "to chain() [range]", *COLUMNS.values()]
    rows = [_row(record, records[0]) for record in records]
    versions = sorted({part for record in records for part in record.versions.split(", ") if part})
    parts = [
        f"{machine()}. {', '.join(versions)}. {rounds} rounds.",
        table(heads, rows),
        *(f"{record.name}: {_shortly(record)}" for record in records if record.absent),
        "What was to be shown, as medians of the ratios within a round:",
        table(["", "target", "measured [range]", ""], verdicts(records), words=1),
    ]
    return "\n\n".join(parts)


def _row(record: Record, baseline: Record) -> list[object]:
    name = record.name
    if "fails" in record.workload:
        name += " (the last step fails)"
    if not record.done():
        return [name, "absent", *["-"] * len(COLUMNS)]
    found = as_object(record, baseline)
    cells = ["-" if found[field] is None else f"{found[field]:,.1f}" for field in COLUMNS]
    return [name, ratio(record, baseline) or "-", *cells]


def arithmetic(records: Sequence[Record]) -> str:
    """Return what so many sagas a second would take; "" when ours was not measured."""
    ours = next((record for record in records if record.name == IN_PLACE.name), None)
    rate_ = ours.middle(rate) if ours is not None else None
    if ours is None or not rate_:
        return ""
    found = as_object(ours, None)
    databases = math.ceil(WANTED / (rate_ * 2 / 3))
    cores = math.ceil(WANTED * found["worker_cpu_ms_per_saga"] / 1000)
    rows = [
        ["machines like this one, each a database with its broker and workers", f"{databases:,}"],
        ["worker cores among them", f"{cores:,}"],
        ["broker messages a second", f"{WANTED * found['messages_per_saga']:,.0f}"],
        ["statements a second", f"{WANTED * found['statements_per_saga']:,.0f}"],
        ["commits a second", f"{WANTED * found['commits_per_saga']:,.0f}"],
    ]
    told = f"From {rate_:,.0f} sagas/s; two thirds of it are planned with. {machine()}."
    return f"{told}\n\n{table([f'for {WANTED:,} sagas of five steps a second', ''], rows)}"


def _shortly(record: Record) -> str:
    if not record.done():
        return f"absent ({record.absent})"
    return f"not in every round ({record.absent})"


def write(page: Path, name: str, text: str) -> None:
    """Put a section into a page, where the one before stood."""
    write_section(page, name, text)
