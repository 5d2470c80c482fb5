"""``sweep`` and ``doctor``: keeping the machinery up, and saying whether it is."""

import signal
import socket
from dataclasses import asdict
from datetime import timedelta
from threading import Event
from typing import Any, TextIO

from django.core.management.base import CommandError
from django.db import DatabaseError

from sagas.conf import saga_settings
from sagas.durations import format_duration, parse_duration
from sagas.engine.consumers import Consumption, consumption
from sagas.engine.recover import sweep, sweep_forever
from sagas.health import SweepStatus, oldest_due_step_age, open_counts, sweep_status
from sagas.management.subcommands.output import write_fields, write_json


def add_to(subparsers: Any) -> None:
    """Add the subcommands of this module."""
    sweeping = subparsers.add_parser(
        "sweep", help="find lost steps and expired deadlines, and go on with them"
    )
    sweeping.add_argument("--loop", action="store_true", help="until it is told to stop")
    sweeping.add_argument("--interval", type=float, help="seconds between two sweeps of a loop")
    sweeping.set_defaults(do=run_sweep)

    doctor = subparsers.add_parser(
        "doctor", help="say whether the machinery is up; exit code 1 when it is not"
    )
    doctor.add_argument(
        "--max-wait", default="5m", help="how long a due step may wait for a worker; default: 5m"
    )
    doctor.add_argument("--json", action="store_true", help="for another program")
    doctor.set_defaults(do=run_doctor)


def run_sweep(out: TextIO, options: dict[str, Any]) -> None:
    """Sweep once, or until a signal says stop."""
    worker = f"cli@{socket.gethostname()}"
    if not options["loop"]:
        report = sweep(worker=worker)
        counts = ", ".join(f"{name} {count}" for name, count in asdict(report).items() if count)
        out.write(f"Swept: {counts or 'nothing to do'}.\n")
        return
    interval = options["interval"] or saga_settings().SWEEP_INTERVAL_SECONDS
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    out.write(f"Sweeping every {interval:g} s.\n")
    out.flush()
    sweep_forever(interval, stop, worker=worker)
    out.write("Stopped.\n")


def run_doctor(out: TextIO, options: dict[str, Any]) -> None:
    """Print the state of the machinery; complain when something is wrong."""
    try:
        max_wait = parse_duration(options["max_wait"])
    except ValueError as error:
        raise CommandError(str(error)) from None
    try:
        last_sweep, waiting, counts = sweep_status(), oldest_due_step_age(), open_counts()
        queues = consumption()
    except DatabaseError as error:
        raise CommandError(f"Unhealthy: the database cannot be read: {error}") from error
    problems = _problems(last_sweep, waiting, max_wait, queues)
    facts = {
        "database": "reachable",
        "last_sweep_seconds": last_sweep.age and last_sweep.age.total_seconds(),
        "swept_by": last_sweep.worker,
        "oldest_due_step_seconds": waiting and waiting.total_seconds(),
        "steps_due_by_queue": dict(queues.waiting),
        "workers_answered": queues.consumed is not None if queues.waiting else None,
        **counts,
    }
    if options["json"]:
        write_json(out, {**facts, "problems": problems})
    else:
        swept = format_duration(last_sweep.age) + " ago" if last_sweep.age is not None else "never"
        due = format_duration(waiting) if waiting is not None else "none"
        readable = {"last sweep": swept, "swept by": last_sweep.worker, "oldest due step": due}
        if queues.waiting:
            waits = ", ".join(f"{queue} {steps}" for queue, steps in queues.waiting.items())
            silent = " (nobody answered who consumes them)" if queues.consumed is None else ""
            readable["due by queue"] = waits + silent
        write_fields(out, [("database", "reachable"), *readable.items(), *counts.items()])
    if problems:
        raise CommandError("Unhealthy: " + "; ".join(problems))


def _problems(
    last_sweep: SweepStatus, waiting: timedelta | None, max_wait: timedelta, queues: Consumption
) -> list[str]:
    problems = []
    if last_sweep.is_overdue:
        problems.append(
            "sagas are active and no sweep is running; start a worker or saga sweep --loop"
        )
    if waiting is not None and waiting > max_wait:
        problems.append(
            "steps are due and no worker is consuming them; check that every queue has one"
        )
    for queue, steps in queues.abandoned.items():
        problems.append(f"no worker consumes {queue}, on which {steps} steps wait")
    return problems
