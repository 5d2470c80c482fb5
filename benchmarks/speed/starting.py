"""What starting costs: a loop of ``start_saga()``, ``start_sagas()``, and a plain task beside them.

Run as ``python -m benchmarks.speed.starting``. The ways take turns, round by round, with the workers
standing still. A loop commits each saga, as a view would.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.plant.report import machine, table
from benchmarks.speed import meter, report
from benchmarks.speed.contender import IN_PLACE
from benchmarks.speed.figures import Record, as_object, rate, ratio, write_results
from benchmarks.speed.measure import Turn
from benchmarks.speed.rounds import ledger
from benchmarks.speed.system import System, running
from benchmarks.speed.targets import bounded


STARTER = replace(IN_PLACE, client=("python", "-m", "benchmarks.speed.applications.our_starts"))
COUNTED = 200
"""Starts of which statements, commits and messages are counted: one statement of the bulk."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to start something."""

    name: str
    order: str
    silent: bool = False

    @property
    def workload(self) -> str:
        """What is started, for the results."""
        what = "a task" if self.order == "tasks" else "a saga of 5 steps"
        return f"starting {what}{', its message not sent' if self.silent else ''}"


LOOP = Way(name="start_saga() in a loop", order="one by one")
BULK = Way(name="start_sagas()", order="together")
SILENT_LOOP = replace(LOOP, silent=True)
SILENT_BULK = replace(BULK, silent=True)
TASK = Way(name="apply_async()", order="tasks")
WAYS = (LOOP, BULK, SILENT_LOOP, SILENT_BULK, TASK)


def measure(rounds: int, number: int) -> list[Record]:
    """Let the ways take turns; return a record for each, in the order of ``WAYS``."""
    records = [Record(name=way.name, workload=way.workload) for way in WAYS]
    with ledger() as url, running(STARTER, url) as system:
        for worker in system.workers:
            worker.pause()
        for way in WAYS:
            _start(system, way, COUNTED)  # connect, prepare, plan
        counts = [_count(system, way) for way in WAYS]
        for turn in range(1, rounds + 1):
            for way, record, counted in zip(WAYS, records, counts, strict=True):
                record.turns.append(_take_turn(system, way, number, counted))
            print(f"round {turn}/{rounds}", flush=True)
    return records


def _start(system: System, way: Way, number: int) -> tuple[float, float]:
    seconds, cpu = system.client.order(way=way.order, number=number, silent=way.silent)
    return seconds, cpu


def _take_turn(system: System, way: Way, number: int, counted: Turn) -> Turn:
    before = _database_seconds(system)
    seconds, cpu = _start(system, way, number)
    return replace(
        counted,
        sagas=number,
        sagas_per_s=number / seconds,
        caller_cpu_ms=1000 * cpu / number,
        database_cpu_ms=1000 * (_database_seconds(system) - before) / number,
    )


def _database_seconds(system: System) -> float:
    return meter.use_of(system.servers[0].processes()).cpu_seconds


def _count(system: System, way: Way) -> Turn:
    """Return a turn with what is the same in each."""
    assert system.statements is not None  # noqa: S101 ours has a database
    before = system.messages()
    system.statements.begin()
    _start(system, way, COUNTED)
    statements, commits = system.statements.end()
    return Turn(
        statements_per_saga=statements / COUNTED,
        commits_per_saga=commits / COUNTED,
        messages_per_saga=(system.messages() - before) / COUNTED,
    )


def text(records: Sequence[Record]) -> str:
    """Return the section."""
    of = dict(zip(WAYS, records, strict=True))
    heads = ["", "a second", "caller's CPU, ms", "PostgreSQL's CPU, ms"]
    rows = [[_title(way), *_figures(of[way])] for way in WAYS]
    verdicts = [
        bounded(f"{BULK.name} ÷ {LOOP.name}", ratio(of[BULK], of[LOOP]), least=2),
        bounded("the same, messages not sent", ratio(of[SILENT_BULK], of[SILENT_LOOP]), least=2),
    ]
    costs = [
        [f"of {LOOP.name}", _difference(of[LOOP], of[SILENT_LOOP])],
        [f"of {BULK.name}", _difference(of[BULK], of[SILENT_BULK])],
        [f"a whole {TASK.name}", _shown(of[TASK].middle(caller))],
    ]
    return "\n\n".join(
        [
            f"{machine()}. {len(records[0].turns)} rounds.",
            table([*heads, "statements", "commits", "messages"], rows),
            "What a message costs, with and without it:",
            table(["", "caller's CPU, ms"], costs),
            "What was to be shown, as medians of the ratios within a round:",
            table(["", "target", "measured [range]", ""], verdicts),
        ]
    )


def caller(turn: Turn) -> float | None:
    return turn.caller_cpu_ms


def _title(way: Way) -> str:
    return f"{way.name}, messages not sent" if way.silent else way.name


def _figures(record: Record) -> list[str]:
    counted = record.done()[0]
    per_second = record.middle(rate)
    return [
        "-" if per_second is None else f"{per_second:,.0f}",
        _shown(record.middle(caller)),
        _shown(record.middle(lambda turn: turn.database_cpu_ms)),
        _shown(counted.statements_per_saga),
        _shown(counted.commits_per_saga, 1),
        _shown(counted.messages_per_saga, 0),
    ]


def _difference(sent: Record, silent: Record) -> str:
    """Return the median of the differences within a round."""
    pairs = zip(sent.done(), silent.done(), strict=True)
    found = [more - less for a, b in pairs if (more := caller(a)) and (less := caller(b))]
    return _shown(median(found) if found else None)


def _shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--number", type=int, default=600, help="of starts, per turn")
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    parser.add_argument("--report", type=Path, help="a page to write a section of")
    given = parser.parse_args()
    records = measure(given.rounds, given.number)
    found = text(records)
    print(found)
    if given.results is not None:
        write_results(given.results, [as_object(record, None) for record in records])
    if given.report is not None:
        report.write(given.report, "starting", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
