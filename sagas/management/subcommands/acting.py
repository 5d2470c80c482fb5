"""``retry``, ``cancel``, ``pause``, ``skip-step`` and the like: the operator verbs."""

import getpass
import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

from django.core.management.base import CommandError

from sagas import operations
from sagas.exceptions import SagaError
from sagas.management.subcommands.lookup import find_run
from sagas.management.subcommands.output import printable
from sagas.models import SagaRun


VERBS = {
    "retry": "let a dead letter go on where it stopped",
    "cancel": "undo what ran, because it is no longer wanted",
    "compensate": "undo what ran, because the goal cannot be reached",
    "revert": "undo a completed saga, because it is no longer wanted",
    "resolve": "close a dead letter that was settled by hand",
    "pause": "start no step of it any more, until it is resumed",
    "resume": "let a paused saga go on",
}
OPERATIONS: dict[str, Callable[..., SagaRun]] = {
    "revert": partial(operations.compensate_saga, revert_completed=True)
}
STEP_VERBS = {
    "retry-step": "try a failed step again, by itself or with its dead letter",
    "skip-step": "settle a step by hand, with --result or without, and go on from there",
    "complete-step": "say that a step which waits succeeded, with --result",
    "fail-step": "say that a step which waits did not happen, because of --error",
}
STEP_NAMES = dict.fromkeys(
    ("retry-step", "skip-step"), "its name, which stands for its compensation too"
)


def add_to(subparsers: Any) -> None:
    """Add the subcommands of this module."""
    for verb, help_text in VERBS.items():
        parser = subparsers.add_parser(verb, help=help_text)
        parser.add_argument("runs", nargs="+", metavar="run", help="id or key")
        parser.add_argument("--reason", required=True, help="kept with the saga's events")
        parser.set_defaults(do=partial(act, verb))
    for verb, help_text in STEP_VERBS.items():
        parser = subparsers.add_parser(verb, help=help_text)
        parser.add_argument("run", help="id or key")
        parser.add_argument(
            "step", help=STEP_NAMES.get(verb, "its name, its compensation's, or 'undo of NAME'")
        )
        parser.add_argument("--reason", required=True, help="kept with the saga's events")
        if verb in {"skip-step", "complete-step"}:
            parser.add_argument("--result", help="what the step returned, as JSON")
        if verb == "fail-step":
            parser.add_argument("--error", required=True, help="becomes that of the saga")
            parser.add_argument("--code", help="of the error, such as REFUSED")
        parser.set_defaults(do=partial(act_on_step, verb))


def act(verb: str, out: TextIO, options: dict[str, Any]) -> None:
    """Do ``verb`` to each run; one that refuses does not keep the others from it."""
    operation = OPERATIONS.get(verb) or getattr(operations, f"{verb}_saga")
    refusals = []
    for name in options["runs"]:
        try:
            run = operation(find_run(name), reason=options["reason"], actor=_actor())
        except (SagaError, CommandError) as error:
            refusals.append(printable(str(error)))
        else:
            out.write(f"{printable(run.key)}: {_standing(run)}\n")
    if refusals:
        raise CommandError("\n".join(refusals))


def act_on_step(verb: str, out: TextIO, options: dict[str, Any]) -> None:
    """Do ``verb`` to one step of a run."""
    run, step = find_run(options["run"]), options["step"]
    operation: Callable[..., SagaRun] = getattr(operations, verb.replace("-", "_"))
    try:
        answer = {**_result(run, options), **_error(options)}
        changed = operation(run, step, reason=options["reason"], actor=_actor(), **answer)
    except SagaError as error:
        raise CommandError(printable(str(error))) from None
    out.write(f"{printable(run.key)}: {_standing(changed)}\n")


def _standing(run: SagaRun) -> str:
    """Return its state; of one that is paused, that it will not move."""
    return str(run.state) if run.paused_at is None else f"{run.state}, paused"


def _result(run: SagaRun, options: dict[str, Any]) -> dict[str, Any]:
    text = options.get("result")
    if text is None:
        return {}
    try:
        data = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--result is not valid JSON: {error}") from None
    return {"result": operations.result_from_json(run, options["step"], data)}


def _error(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("error", "code") if options.get(name) is not None}


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number without a name.
        user = str(os.getuid())
    return f"cli:{user}"
