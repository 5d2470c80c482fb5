"""``list``, ``show`` and ``stats``: what is there."""

import json
from typing import Any, TextIO

from sagas.health import counts_by_state
from sagas.management.subcommands.lookup import find_run
from sagas.management.subcommands.output import (
    moment,
    printable,
    write_fields,
    write_json,
    write_table,
)
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import SagaState
from sagas.texts import mended


CHARACTERS_SHOWN = 60


def add_to(subparsers: Any) -> None:
    """Add the subcommands of this module."""
    listing = subparsers.add_parser("list", help="list sagas, newest first")
    listing.add_argument("--state", choices=SagaState.values)
    listing.add_argument("--label", help="of the saga's class, such as shop.FulfilOrder")
    listing.add_argument("--search", help="the start of a key, an id, or tag=value")
    listing.add_argument("--limit", type=int, default=20, help="default: 20")
    listing.add_argument("--json", action="store_true", help="for another program")
    listing.set_defaults(do=list_runs)

    show = subparsers.add_parser("show", help="show a saga, its steps and events")
    show.add_argument("run", help="id or key")
    show.add_argument("--json", action="store_true", help="for another program")
    show.set_defaults(do=show_run)

    stats = subparsers.add_parser("stats", help="count sagas by state")
    stats.add_argument("--json", action="store_true", help="for another program")
    stats.set_defaults(do=show_stats)


def list_runs(out: TextIO, options: dict[str, Any]) -> None:
    """Print the runs that the options ask for."""
    runs = SagaRun.objects.order_by("-pk")
    if options["search"]:
        runs = runs.search(options["search"])
    for column in ("state", "label"):
        if options[column]:
            runs = runs.filter(**{column: mended(options[column])})
    found = list(runs.defer("input", "options")[: max(options["limit"], 0)])
    if options["json"]:
        write_json(out, [_summary(run) for run in found])
        return
    rows = [
        (
            str(run.pk),
            run.state,
            run.label,
            _short(run.key),
            moment(run.created_at),
            _short(run.error),
        )
        for run in found
    ]
    write_table(out, ("ID", "STATE", "LABEL", "KEY", "STARTED", "ERROR"), rows)


def show_run(out: TextIO, options: dict[str, Any]) -> None:
    """Print one run."""
    run = find_run(options["run"])
    steps = list(run.steps.all())
    events = list(run.events.select_related("step"))
    if options["json"]:
        write_json(
            out,
            {
                **_summary(run),
                "explanation": run.explain(),
                "input": run.input,
                "steps": [_step(step) for step in steps],
                "events": [_event(event) for event in events],
            },
        )
        return
    _show_fields(out, run)
    _show_steps(out, steps)
    out.write("\nEvents\n")
    write_table(
        out,
        ("AT", "WHAT", "STEP", "STATE", "BY", "NOTE"),
        [(moment(e.at), e.type, str(e.step or ""), e.to_state, e.actor, e.note) for e in events],
    )


def _show_steps(out: TextIO, steps: list[StepRun]) -> None:
    out.write("\nSteps\n")
    write_table(
        out,
        ("STEP", "STATE", "ATTEMPTS", "STARTED", "ENDED", "OWNER", "ERROR"),
        [
            (
                str(s),
                s.state,
                str(s.attempt),
                moment(s.started_at),
                moment(s.ended_at),
                s.owner,
                _short(s.error),
            )
            for s in steps
        ],
    )


def show_stats(out: TextIO, options: dict[str, Any]) -> None:
    """Print how many runs are in which state."""
    counts = counts_by_state()
    counts["total"] = sum(counts.values())
    if options["json"]:
        write_json(out, counts)
        return
    write_table(out, ("STATE", "SAGAS"), [(state, str(count)) for state, count in counts.items()])


def _show_fields(out: TextIO, run: SagaRun) -> None:
    fields = (
        ("id", run.pk),
        ("saga", f"{run.label} version {run.version}"),
        ("key", run.key),
        ("state", run.state),
        ("", run.explain()),
        ("tags", ", ".join(f"{name}={value}" for name, value in run.tags.items())),
        ("started", moment(run.created_at)),
        ("deadline", moment(run.deadline)),
        ("paused since", moment(run.paused_at)),
        ("ended", moment(run.completed_at)),
        ("retried", run.retry_count or ""),
        ("warnings", "a best-effort step did not succeed" if run.has_warnings else ""),
        ("failed step", run.failed_step),
        ("error code", run.error_code),
        ("error", run.error),
        ("undoing failed", run.compensation_error),
        ("input", json.dumps(run.input, ensure_ascii=False)),
    )
    write_fields(out, fields)


def _summary(run: SagaRun) -> dict[str, Any]:
    columns = (
        "id", "label", "version", "key", "state", "outcome", "tags", "failed_step", "error_code",
        "error", "compensation_error", "has_warnings", "retry_count", "created_at", "updated_at",
        "deadline", "paused_at", "completed_at",
    )  # fmt: skip
    return {column: getattr(run, column) for column in columns}


def _step(step: StepRun) -> dict[str, Any]:
    columns = (
        "id", "name", "direction", "state", "attempt", "idempotency_key", "task_id", "worker",
        "started_at", "ended_at", "error_code", "error", "owner", "input",
        "output",
    )  # fmt: skip
    return {column: getattr(step, column) for column in columns}


def _event(event: SagaEvent) -> dict[str, Any]:
    columns = ("at", "type", "from_state", "to_state", "attempt", "actor", "note")
    step = str(event.step) if event.step else ""
    return {"step": step, **{column: getattr(event, column) for column in columns}}


def _short(text: str) -> str:
    line = printable(text)
    return line if len(line) <= CHARACTERS_SHOWN else f"{line[:CHARACTERS_SHOWN]}…"
