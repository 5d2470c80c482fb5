"""``make matrix``: the tests with every Python that is there and every Django, and with the oldest and newest.

Run as ``python -m benchmarks.compatibility.matrix``. Environments are kept in ``.venv-matrix``.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.compatibility import trial
from benchmarks.compatibility.candidates import all_candidates
from benchmarks.compatibility.trial import Trial
from benchmarks.plant.report import table, write_section


QUICK = "the unit tests, and the integration tests on SQLite"
WHOLE = "all tests, on PostgreSQL with Redis and RabbitMQ and real workers"


def main() -> int:
    """Return 0 if all that could be tried has passed."""
    options = _options()
    trial.HOME.mkdir(exist_ok=True)
    trials = []
    for candidate in all_candidates():
        if options.only and not any(word in candidate.name for word in options.only):
            continue
        tried = trial.attempt(candidate, whole=options.whole, processes=options.processes)
        print(f"{candidate.name}: {tried.outcome}", flush=True)
        trials.append(tried)
    page = _page(trials, WHOLE if options.whole else QUICK)
    print(f"\n{page}")
    if options.report is not None:
        write_section(options.report, "whole" if options.whole else "quick", page)
    return 0 if all(tried.passed for tried in trials if tried.log is not None) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="every test, not the quick ones")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="such as oldest or django6.1")
    parser.add_argument("--report", type=Path, help="a page to write the table into")
    return parser.parse_args()


def _page(trials: Sequence[Trial], what: str) -> str:
    columns = list(dict.fromkeys(tried.candidate.column for tried in trials))
    cells = {(tried.candidate.version, tried.candidate.column): tried for tried in trials}
    rows = [
        [f"Python {version}", *(_cell(cells.get((version, column))) for column in columns)]
        for version in dict.fromkeys(tried.candidate.version for tried in trials)
    ]
    lines = [
        f"`make matrix`, {datetime.now(UTC):%d %B %Y}: {what}.",
        table(["", *columns], rows, words=1 + len(columns)),
        "The versions of each, as installed:",
        table(
            ["", "Python", *trial.SHOWN], [_versions(tried) for tried in trials if tried.versions]
        ),
    ]
    return "\n\n".join(lines)


def _cell(tried: Trial | None) -> str:
    if tried is None:
        return "not tried"
    if tried.log is None:
        return f"not possible: {tried.outcome}"
    return tried.outcome if tried.passed else f"**{tried.outcome}** ({tried.log.name})"


def _versions(tried: Trial) -> list[str]:
    return [tried.candidate.column, *tried.versions.values()]


if __name__ == "__main__":
    sys.exit(main())
