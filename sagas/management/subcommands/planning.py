"""``plan``: which steps a run would have."""

import json
from typing import Any, TextIO

from django.core.management.base import CommandError

from sagas.exceptions import SagaError
from sagas.management.subcommands.output import printable, write_json, write_table
from sagas.operations import preview_plan


def add_to(subparsers: Any) -> None:
    """Add the subcommand."""
    plan = subparsers.add_parser("plan", help="list the steps that a saga would have")
    plan.add_argument("label", help="of the saga's class, such as shop.FulfilOrder")
    plan.add_argument("--input", required=True, help="as JSON")
    plan.add_argument("--json", action="store_true", help="for another program")
    plan.set_defaults(do=show_plan)


def show_plan(out: TextIO, options: dict[str, Any]) -> None:
    """Print the plan. Starts nothing."""
    try:
        steps = preview_plan(options["label"], json.loads(options["input"]))
    except SagaError as error:
        raise CommandError(f"{error.code}: {error}") from None
    except ValueError as error:
        raise CommandError(f"--input is not valid JSON: {error}") from None
    if options["json"]:
        write_json(out, [vars(step) for step in steps])
        return
    rows = [(printable(s.name), s.saga, printable(", ".join(s.after)) or "-") for s in steps]
    write_table(out, ("STEP", "SAGA", "AFTER"), rows)
