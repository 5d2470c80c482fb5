"""The tables of what grew."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmarks.plant.report import machine, table
from benchmarks.speed.figures import Ratio, Record, rate, ratio
from benchmarks.speed.growth import LENGTHS
from benchmarks.speed.targets import bounded


if TYPE_CHECKING:
    from benchmarks.speed.growth.measure import Growth
    from benchmarks.speed.measure import Turn


def text(growth: "Growth") -> str:
    """Return the section."""
    return "\n\n".join(
        [
            f"{machine()}.",
            "Five no-op steps in place, beside sagas that ended before:",
            _table(growth.history, "to none [range]"),
            "Longer sagas, the time of a step while a backlog is drained:",
            _of_steps(growth),
            "More worker processes on the same machine:",
            _table(growth.processes, f"to {growth.processes[0].workload} [range]"),
            "The sweep that every worker triggers once a second:",
            _of_sweeps(growth.sweeps),
            "What was to be shown:",
            table(["", "target", "measured [range]", ""], verdicts(growth)),
        ]
    )


def verdicts(growth: "Growth") -> list[tuple[object, ...]]:
    """Return a row for each target of growth."""
    long = _per_step(growth.lengths[-1], growth.lengths[0], LENGTHS[-1], LENGTHS[0])
    many = ratio(growth.history[-1], growth.history[0]) if len(growth.history) > 1 else None
    return [
        bounded(f"time of a step, {LENGTHS[-1]} steps ÷ {LENGTHS[0]}", long, most=1.15),
        bounded(f"sagas/s, {growth.history[-1].workload} ÷ none", many, least=0.9),
    ]


def _table(records: Sequence[Record], compared: str) -> str:
    rows = [
        [record.workload, ratio(record, records[0]) or "-", _figure(record, rate)]
        for record in records
    ]
    return table(["", compared, "sagas/s"], rows)


def _of_steps(growth: "Growth") -> str:
    short = growth.lengths[0]
    rows = []
    sizes = [*LENGTHS, *(record_steps(record) for record in growth.width)]
    for record, steps in zip([*growth.lengths, *growth.width], sizes, strict=True):
        compared = _per_step(record, short, steps, LENGTHS[0])
        middle = record.middle(rate)
        of_a_step = "-" if not middle else f"{1000 / (middle * steps):.2f}"
        rows.append([record.workload, compared or "-", of_a_step, _ms(record.latency(0.5))])
    heads = ["", f"to {LENGTHS[0]} steps [range]", "ms per step", "idle latency p50, ms"]
    return table(heads, rows)


def record_steps(record: Record) -> int:
    """The steps of a wide saga: its branches, the first and the last."""
    return int(record.workload.split()[0]) + 2


def _of_sweeps(records: Sequence[Record]) -> str:
    rows = [
        [record.workload, *map(_ms, (record.latency(0.5), record.latency(1)))] for record in records
    ]
    return table(["", "p50, ms", "longest, ms"], rows)


def _per_step(long: Record, short: Record, steps: int, few: int) -> Ratio | None:
    """Compare the time of a step, which is the inverse of the rate of steps."""
    found = ratio(short, long)
    if found is None:
        return None
    scale = few / steps
    return Ratio(median=found.median * scale, least=found.least * scale, most=found.most * scale)


def _figure(record: Record, of: "Callable[[Turn], float | None]") -> str:
    value = record.middle(of)
    return "-" if value is None else f"{value:,.1f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
