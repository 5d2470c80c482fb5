"""The tables: who did what, and what of it was to be shown."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.plant.report import machine, table, write_section
from benchmarks.speed.figures import Record, as_object, ratio
from benchmarks.speed.targets import verdicts


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


def _shortly(record: Record) -> str:
    if not record.done():
        return f"absent ({record.absent})"
    return f"not in every round ({record.absent})"


def write(page: Path, name: str, text: str) -> None:
    """Put a section into a page, where the one before stood."""
    write_section(page, name, text)
