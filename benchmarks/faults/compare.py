"""The same faults on this product, on plain Celery, and on the ``celery-saga`` package.

Run as ``python -m benchmarks.faults.compare``. Each system meets each kind of fault on its own, with
the same sagas, on fresh servers; the same judge compares what it says with the outside service's
books.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.faults.judge import (
    DISORDER,
    DOUBLED,
    FALSELY_COMPENSATED,
    FALSELY_COMPLETED,
    Verdict,
    judge_all,
)
from benchmarks.faults.ledger import books
from benchmarks.faults.rivals.contender import CELERY_SAGA, NAMES, OURS, Contender, contender
from benchmarks.faults.scenarios import SCENARIOS, Scenario
from benchmarks.faults.wishes import Wish, wish
from benchmarks.plant.environment import Absent, environment_with, version_of
from benchmarks.plant.report import machine, table, write_section


QUIET_SECONDS = 60.0
"""A saga whose system has done nothing for so long is stuck for ever."""
HANG_LIMIT_SECONDS = 400.0

HEADS = (
    "fault", "system", "told the truth", "stuck for ever", "asks a person",
    "said compensated, was not", "said completed, was not", "undone out of order",
    "rolled back although every step could succeed", "effects left behind",
)  # fmt: skip


SETTING = """\
{sagas} sagas of five steps per fault and system, a fifth of them made to fail; two workers each; the
same idempotent outside service, handlers, retries and judge; the three systems share the machine. Plain
Celery is `chain()` with a `link_error` on each step that undoes it and all before it. Both rivals run
with `acks_late` and a prefetch of one; `celery-saga` keeps its state in a Redis of its own, which no
fault touches. A message that a worker held comes back to them after 20 s, where Celery's default is an
hour: the two faults in which that matters are shown with both. Stuck for ever: nothing happened for
{quiet:.0f} s. One run, so figures of a few sagas are examples and no rates."""

NOTES = """\
How to read it. What stood in a message only is gone with the message (`FLUSHALL`). A step that was
running when its process died may have taken effect; `celery-saga` undoes what is recorded as succeeded
and no more. The redelivery time is a choice between two evils: after an hour, "stuck" behind a killed
worker means up to that hour, and a broker's absence only rolls back sagas whose steps had succeeded;
after 20 s a killed worker does no harm, but a broker that is away for longer has messages delivered
again while their error callbacks undo the steps, and sagas go on to `completed` with steps undone."""


def run(name: str, scenario: Scenario, sagas: int, seed: int) -> Verdict:
    """Put one system through one kind of fault.

    Raises:
        Absent: the system cannot be had here.
    """
    hangs = scenario.time_limit is not None
    wishes = [wish(n, hold_ms=scenario.hold_ms, hangs=hangs) for n in range(sagas)]
    with contender(
        name,
        children=scenario.children,
        time_limit=scenario.time_limit,
        redelivery=scenario.redelivery,
    ) as system:
        system.submit(wishes)
        scenario.inflict(system, random.Random(seed))  # noqa: S311
        states = _settled(system, wishes)
        return judge_all(wishes, states, books.read(system.ledger.log))


def _settled(system: Contender, wishes: list[Wish]) -> dict[str, str]:
    """Wait until every saga has ended, or nothing has happened for long."""
    last, since = -1, time.monotonic()
    until = since + HANG_LIMIT_SECONDS
    while (now := time.monotonic()) < until:
        written = system.ledger.log.stat().st_size
        if written != last:
            last, since = written, now
        states = system.states()
        all_ended = len(states) == len(wishes)
        # A moment longer: what says "completed" may still be undone by a late callback.
        if now - since > (8 if all_ended else QUIET_SECONDS):
            break
        time.sleep(3)
    return system.states()


def figures(verdict: Verdict) -> dict[str, Any]:
    """Return a row of the table, as JSON."""
    return {
        "truthful": verdict.truthful,
        "stuck": verdict.stuck,
        "handed over": verdict.handed_over,
        FALSELY_COMPENSATED: verdict.count(FALSELY_COMPENSATED),
        FALSELY_COMPLETED: verdict.count(FALSELY_COMPLETED),
        DISORDER: verdict.count(DISORDER),
        "without cause": verdict.without_cause,
        "left": verdict.left,
        DOUBLED: verdict.count(DOUBLED),
        "findings": [str(finding) for finding in verdict.findings[:20]],
    }


def _in_a_process(name: str, scenario: str, options: argparse.Namespace) -> dict[str, Any]:
    """Django is set up once per process, so each run has one of its own."""
    command = [sys.executable, "-m", "benchmarks.faults.compare", "--run", name, scenario]
    command += ["--sagas", str(options.sagas), "--seed", str(options.seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}, {scenario}:\n{done.stdout}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rows(options: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Run everything, the systems beside each other, and yield the figures as they come."""
    with ThreadPoolExecutor(options.jobs) as pool:
        for key in options.only or SCENARIOS:
            jobs = [(name, pool.submit(_in_a_process, name, key, options)) for name in NAMES]
            for name, job in jobs:
                found = job.result()
                print(f"{SCENARIOS[key].title}, {name}: {json.dumps(found)}", flush=True)
                yield key, name, found


def _line(key: str, name: str, found: dict[str, Any]) -> tuple[object, ...]:
    title = SCENARIOS[key].title
    if "absent" in found:
        return title, name, f"absent: {found['absent']}", *([""] * 7)
    columns = (
        "truthful", "stuck", "handed over", FALSELY_COMPENSATED, FALSELY_COMPLETED, DISORDER,
        "without cause", "left",
    )  # fmt: skip
    return title, f"**{name}**" if name == OURS else name, *(found[name] for name in columns)


def text(rows: Sequence[tuple[str, str, dict[str, Any]]], sagas: int) -> str:
    """Return the section."""
    try:
        rival = f"celery-saga {version_of(environment_with('celery-saga[redis]'), CELERY_SAGA)}"
    except Absent as absent:
        rival = f"celery-saga absent ({absent})"
    return "\n\n".join(
        [
            "## The same faults on what people use instead",
            f"`make faults-compare` · {machine()}, {rival}.",
            SETTING.format(sagas=sagas, quiet=QUIET_SECONDS),
            table(HEADS, [_line(*row) for row in rows], words=2),
            NOTES,
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sagas", type=int, default=60, help="per fault and system")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=3, help="systems that run at the same time")
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    parser.add_argument("--report", type=Path, help="the page to write a section of")
    parser.add_argument("--run", nargs=2, metavar=("SYSTEM", "FAULT"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _options()
    if options.run:
        name, key = options.run
        try:
            found = figures(run(name, SCENARIOS[key], options.sagas, options.seed))
        except Absent as absent:
            found = {"absent": str(absent)}
        print(json.dumps(found))
        return 0
    rows = list(_rows(options))
    print(text(rows, options.sagas))
    if options.report is not None:
        write_section(options.report, "rivals", text(rows, options.sagas))
    return int(any(found["findings"] for _, name, found in rows if name == OURS))


if __name__ == "__main__":
    sys.exit(main())
