"""``check-inflight``: what a deploy would do to the sagas that are open."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TextIO

from django.core.management.base import CommandError

from sagas.health import open_counts
from sagas.inflight import Report, check_inflight
from sagas.management.subcommands.output import write_json, write_table


PROGRESS_SECONDS = 2.0
"""How often it is said how far it came."""


def add_to(subparsers: Any) -> None:
    """Add the subcommand of this module."""
    parser = subparsers.add_parser(
        "check-inflight",
        help="say which open sagas this code cannot carry on, or not undo; exit code 1 if there are any",
    )
    parser.add_argument("--json", action="store_true", help="for another program")
    parser.set_defaults(do=run_check)


def run_check(out: TextIO, options: dict[str, Any]) -> None:
    """Read every open saga with this code; complain when one would get stuck."""
    began = time.monotonic()
    report = check_inflight(on_progress=_told_on(sys.stderr))
    seconds = time.monotonic() - began
    if options["json"]:
        write_json(out, {**asdict(report), "seconds": round(seconds, 3)})
    else:
        _write(out, report, seconds)
    if report.stuck:
        raise CommandError(
            f"{report.stuck} of {report.runs} open sagas cannot be carried on, or undone, by this code."
        )


def _write(out: TextIO, report: Report, seconds: float) -> None:
    if report.findings:
        head = ("SAGA", "VERSION", "STEP", "PROBLEM", "SAGAS", "EXAMPLE", "DETAIL")
        rows = [
            (f.saga, str(f.version), f.step, f.problem, str(f.runs), str(f.example), f.detail)
            for f in report.findings
        ]
        write_table(out, head, rows)
    out.write(f"Read {report.runs} open sagas in {seconds:.1f} s.\n")
    if not report.stuck:
        out.write("This code can carry on and undo all of them.\n")


def _told_on(stream: TextIO) -> Callable[[int], None]:
    """Return what tells how far it came, where that takes longer."""
    told_at = time.monotonic()

    def tell(read: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= PROGRESS_SECONDS:
            told_at = time.monotonic()
            stream.write(f"{read} of {sum(open_counts().values())} open sagas\n")
            stream.flush()

    return tell
