"""All contenders take turns, round by round; what is told are ratios within a round.

Run as ``python -m benchmarks.speed.compare``; ``--only in-place --rounds 3`` is the short way to try a
change. While one has its turn, the processes of all others stand still.
"""

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.speed import report
from benchmarks.speed.contender import BASELINE, CONTENDERS
from benchmarks.speed.figures import as_object, write_results
from benchmarks.speed.measure import Lengths
from benchmarks.speed.rounds import Plan, take_rounds


DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CONTENDERS, action="append", help="beside the baseline")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of draining, about, per turn")
    parser.add_argument("--latencies", type=int, default=60, help="sagas one by one, per turn")
    parser.add_argument("--processes", type=int, default=2, help="that run steps, per contender")
    parser.add_argument("--durable", action="store_true", help="let PostgreSQL wait for its disk")
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    parser.add_argument("--report", type=Path, help="a page to write a section of")
    parser.add_argument("--scaling", type=Path, help="a page to write the arithmetic into")
    return parser.parse_args()


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _options()
    chosen = [CONTENDERS[name] for name in given.only or CONTENDERS]
    chosen = [BASELINE, *(one for one in chosen if one is not BASELINE)]
    records = take_rounds(
        Plan(
            contenders=[replace(one, processes=given.processes) for one in chosen],
            rounds=given.rounds,
            postgres=DURABLE if given.durable else {},
            lengths=Lengths(
                drain_seconds=given.seconds,
                latencies=given.latencies,
                latency_seconds=given.seconds,
            ),
        )
    )
    text = report.comparison(records)
    print(text)
    if given.results is not None:
        write_results(given.results, [as_object(record, records[0]) for record in records])
    if given.report is not None:
        report.write(given.report, "comparison", text)
    if given.scaling is not None and (ours := report.arithmetic(records)):
        report.write(given.scaling, "arithmetic", ours)
    return 0


if __name__ == "__main__":
    sys.exit(main())
