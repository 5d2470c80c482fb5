"""Grow one thing at a time, everything else being equal.

Run as ``python -m benchmarks.speed.growth.measure``. The variants of one thing take turns, so that
their ratios are of the same minutes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from benchmarks.plant.progress import Progress
from benchmarks.speed import report
from benchmarks.speed.contender import IN_PLACE, Contender
from benchmarks.speed.figures import Record, as_object, write_results
from benchmarks.speed.growth import LENGTHS, WIDTH, history, tables
from benchmarks.speed.measure import Lengths, Turn, warm_up
from benchmarks.speed.rounds import Plan, ledger, take_rounds
from benchmarks.speed.system import System, running


SWEEPS = 10
DUE = 1_000
"""Of the waiting runs, in the second series of sweeps: five full batches."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to grow, and how far."""

    finished: Sequence[int] = (0, 10_000, 1_000_000)
    processes: Sequence[int] = (1, 2, 4, 8)
    waiting: int = 100_000
    rounds: int = 3
    seconds: float = 2.0

    @property
    def lengths(self) -> Lengths:
        """Of a turn; a few latencies will do, the comparison has more of them."""
        return Lengths(drain_seconds=self.seconds, latencies=15, latency_seconds=self.seconds)


@dataclass(kw_only=True)
class Growth:
    """What each series gave."""

    history: list[Record] = field(default_factory=list)
    lengths: list[Record] = field(default_factory=list)
    width: list[Record] = field(default_factory=list)
    processes: list[Record] = field(default_factory=list)
    sweeps: list[Record] = field(default_factory=list)

    def records(self) -> list[Record]:
        """All of them."""
        return [*self.history, *self.lengths, *self.width, *self.processes, *self.sweeps]


def measure(options: Options) -> Growth:
    """Run every series."""
    long = take_rounds(_plan(options, [*map(_in_a_row, LENGTHS), _at_once()]))
    return Growth(
        history=_with_history(options),
        lengths=long[: len(LENGTHS)],
        width=long[len(LENGTHS) :],
        processes=take_rounds(_plan(options, [_processes(n) for n in options.processes])),
        sweeps=_sweeps(options.waiting),
    )


def _plan(options: Options, contenders: Sequence[Contender]) -> Plan:
    return Plan(
        contenders=contenders,
        rounds=options.rounds,
        lengths=options.lengths,
        # Filling in a million sagas would be one checkpoint after the other.
        postgres={"max_wal_size": "8GB"},
    )


def _with_history(options: Options) -> list[Record]:
    sizes = {f"beside {number:,} finished sagas": number for number in options.finished}
    variants = [replace(IN_PLACE, workload=workload) for workload in sizes]

    def before(system: System) -> None:
        _fill(system, sizes[system.contender.workload], history.FINISHED)

    return take_rounds(replace(_plan(options, variants), before=before))


def _fill(system: System, number: int, differing: history.Differing) -> None:
    progress = Progress()
    history.fill(
        system.parts.postgres,
        number,
        differing=differing,
        told=lambda done: progress.show(f"{done:,} of {number:,} sagas filled in"),
    )
    progress.end()


def _long(label: str, workload: str, steps: int) -> Contender:
    return replace(
        IN_PLACE,
        workload=workload,
        steps=steps,
        client=(*IN_PLACE.client[:-1], label),
        environment={
            **IN_PLACE.environment,
            "DJANGO_SETTINGS_MODULE": "benchmarks.speed.growth.settings",
        },
    )


def _in_a_row(length: int) -> Contender:
    return _long(f"growth.InARow{length}", f"{length} no-op steps in a row", length)


def _at_once() -> Contender:
    return _long(f"growth.AtOnce{WIDTH}", f"{WIDTH} no-op steps at once, then a join", WIDTH + 2)


def _processes(number: int) -> Contender:
    return replace(IN_PLACE, workload=f"{number} worker processes", processes=number)


def _sweeps(waiting: int) -> list[Record]:
    """Sweep beside many runs that wait; then with many of them due. The workers stand still."""
    beside = f"beside {waiting:,} waiting sagas"
    with ledger() as url, running(IN_PLACE, url) as system:
        warm_up(system)
        for worker in system.workers:
            worker.pause()
        _fill(system, waiting, history.WAITING)
        idle = _sweep(system)
        with psycopg.connect(system.parts.postgres) as connection:
            connection.execute(history.MAKE_DUE, [min(DUE, waiting)])
        due = _sweep(system)
    return [
        _swept(f"a sweep with nothing due, {beside}", idle),
        _swept(f"a sweep that sends 200 messages, {beside}", due[: min(DUE, waiting) // 200]),
    ]


def _sweep(system: System) -> list[float]:
    (command,) = system.contender.commands(
        ("python", "-m", "{application}", "sweep", str(SWEEPS)), system.parts
    )
    everything = {**os.environ, **system.contender.variables(system.parts)}
    found = subprocess.check_output(command, env=everything, text=True)
    times: list[float] = json.loads(found.splitlines()[-1])
    return times


def _swept(workload: str, times: list[float]) -> Record:
    return Record(name=IN_PLACE.name, workload=workload, turns=[Turn(latencies_ms=times)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, nargs="+", default=Options.finished)
    parser.add_argument("--processes", type=int, nargs="+", default=Options.processes)
    parser.add_argument("--waiting", type=int, default=Options.waiting)
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--seconds", type=float, default=Options.seconds)
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    parser.add_argument("--report", type=Path, help="a page to write a section of")
    return parser.parse_args()


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _options()
    growth = measure(
        Options(
            finished=given.finished,
            processes=given.processes,
            waiting=given.waiting,
            rounds=given.rounds,
            seconds=given.seconds,
        )
    )
    text = tables.text(growth)
    print(text)
    if given.results is not None:
        write_results(given.results, [as_object(record, None) for record in growth.records()])
    if given.report is not None:
        report.write(given.report, "growth", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
