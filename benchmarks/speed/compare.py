"""All contenders take turns, round by round; what is told are ratios within a round.

Run as ``python -m benchmarks.speed.compare``; ``--only in-place --rounds 3`` is the short way to try a
change. While one has its turn, the processes of all others stand still.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plant.environment import Absent
from benchmarks.speed import report
from benchmarks.speed.contender import BASELINE, CONTENDERS, Contender
from benchmarks.speed.figures import Record, as_object, ratio, write_results
from benchmarks.speed.measure import Lengths, Turn, take_turn, warm_up
from benchmarks.speed.system import Stuck, System, running
from tests.servers.process import Unavailable
from tests.servers.redis import start_redis


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run."""

    contenders: Sequence[Contender]
    rounds: int
    lengths: Lengths
    processes: int = 2


@contextmanager
def ledger() -> Iterator[str]:
    """Start the Redis to which all handlers tell, and give its URL."""
    server = start_redis()
    try:
        yield f"{server.url}/0"
    finally:
        server.remove()


def compare(options: Options) -> list[Record]:
    """Run the rounds; the first record is the baseline's."""
    chosen = [BASELINE, *(one for one in options.contenders if one is not BASELINE)]
    records = [Record(name=one.name, workload=one.workload) for one in chosen]
    with ExitStack() as stack:
        url = stack.enter_context(ledger())
        systems: dict[str, System] = {}
        for contender, record in zip(chosen, records, strict=True):
            try:
                systems[record.name] = _made_ready(stack, contender, record, url, options)
            except (Absent, Unavailable, Stuck) as error:
                _drop(record, error)
        for number in range(1, options.rounds + 1):
            for record in records:
                _take_turn(systems, record, options.lengths)
                if record.turns[-1] is not None:
                    _say(f"round {number}/{options.rounds}  {_line(record, records[0])}")
    return records


def _made_ready(
    stack: ExitStack, contender: Contender, record: Record, ledger_url: str, options: Options
) -> System:
    record.versions = contender.versions()
    system = stack.enter_context(running(contender, ledger_url, processes=options.processes))
    try:
        warm_up(system)
    finally:
        system.stand_still()
    _say(f"{contender.name}: ready ({record.versions})")
    return system


def _take_turn(systems: dict[str, System], record: Record, lengths: Lengths) -> None:
    """Add a turn to the record: None, when the contender is out of the run."""
    turn: Turn | None = None
    if system := systems.get(record.name):
        try:
            turn = take_turn(system, lengths)
        except Stuck as stuck:
            _drop(record, stuck)
            system.stand_still()
            del systems[record.name]
    record.turns.append(turn)


def _drop(record: Record, error: Exception) -> None:
    record.absent = str(error).splitlines()[0]
    _say(f"{record.name}: out of the run: {error}")


def _line(record: Record, baseline: Record) -> str:
    turn = record.turns[-1]
    assert turn is not None  # noqa: S101 told only of a measured turn
    one = Record(name=record.name, turns=[turn])
    compared = ratio(one, Record(name="", turns=baseline.turns[-1:]))
    return (
        f"{record.name:<30}{turn.sagas_per_s:8.1f} sagas/s"
        f"  x {compared.median if compared else float('nan'):5.2f}"
        f"  p50 {one.latency(0.5) or float('nan'):7.1f} ms"
        f"  {turn.cpu_ms_per_saga:6.2f} ms CPU  {turn.memory_mib:4.0f} MiB  ({turn.sagas} sagas)"
    )


def _say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CONTENDERS, action="append", help="beside the baseline")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of draining, about, per turn")
    parser.add_argument("--latencies", type=int, default=60, help="sagas one by one, per turn")
    parser.add_argument("--processes", type=int, default=2, help="that run steps, per contender")
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    parser.add_argument("--report", type=Path, help="a page to write a section of")
    return parser.parse_args()


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _options()
    lengths = Lengths(
        drain_seconds=given.seconds, latencies=given.latencies, latency_seconds=given.seconds
    )
    options = Options(
        contenders=[CONTENDERS[name] for name in given.only or CONTENDERS],
        rounds=given.rounds,
        lengths=lengths,
        processes=given.processes,
    )
    records = compare(options)
    text = report.comparison(records)
    print(text)
    if given.results is not None:
        write_results(given.results, [as_object(record, records[0]) for record in records])
    if given.report is not None:
        report.write(given.report, "comparison", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
