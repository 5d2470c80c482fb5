"""``retry``, ``cancel``, ``pause``, ``skip-step`` and the like: the operator verbs."""

import getpass
import json
import os
from functools import partial
from typing import Any, TextIO

from django.core.management.base import CommandError

from sagas import operations
from sagas.exceptions import SagaError
from sagas.management.subcommands.lookup import find_run
from sagas.management.subcommands.output import printable
from sagas.models import SagaRun
from sagas.operations.verbs import RunVerb, StepVerb, run_verbs, step_verbs


def add_to(subparsers: Any) -> None:
    """Add a subcommand for each verb."""
    for verb in run_verbs():
        parser = _parser(subparsers, verb)
        parser.add_argument("runs", nargs="+", metavar="run", help="id or key")
        _add_reason(parser)
        parser.set_defaults(do=partial(act, verb))
    for step_verb in step_verbs():
        parser = _parser(subparsers, step_verb)
        parser.add_argument("run", help="id or key")
        if step_verb.takes_input:
            parser.add_argument("--to", dest="step", required=True, help=step_verb.naming.help)
            parser.add_argument("--input", help="the corrected input, as JSON (default: the same)")
        else:
            parser.add_argument("step", help=step_verb.naming.help)
        _add_reason(parser)
        if step_verb.takes_result:
            parser.add_argument("--result", help="what the step returned, as JSON")
        if step_verb.takes_error:
            parser.add_argument("--error", required=True, help="becomes that of the saga")
            parser.add_argument("--code", help="of the error, such as REFUSED")
        if step_verb.by_person:
            text = "the user who decides, by the name for logging in"
            parser.add_argument("--actor", required=True, help=text)
        parser.set_defaults(do=partial(act_on_step, step_verb))


def _parser(subparsers: Any, verb: RunVerb | StepVerb) -> Any:
    return subparsers.add_parser(verb.name.replace("_", "-"), help=verb.help)


def _add_reason(parser: Any) -> None:
    parser.add_argument("--reason", required=True, help="kept with the saga's events")


def act(verb: RunVerb, out: TextIO, options: dict[str, Any]) -> None:
    """Do ``verb`` to each run; one that refuses does not keep the others from it."""
    refusals = []
    for name in options["runs"]:
        try:
            run = verb.operation(find_run(name), reason=options["reason"], actor=_actor())
        except (SagaError, CommandError) as error:
            refusals.append(printable(str(error)))
        else:
            out.write(f"{printable(run.key)}: {_state(run)}\n")
    if refusals:
        raise CommandError("\n".join(refusals))


def act_on_step(verb: StepVerb, out: TextIO, options: dict[str, Any]) -> None:
    """Do ``verb`` to one step of a run."""
    run, step = find_run(options["run"]), options["step"]
    try:
        answer = {**_result(run, options), **_error(options), **_input(run, options)}
        changed = verb.operation(run, step, **answer, **_who(options))
    except SagaError as error:
        raise CommandError(printable(str(error))) from None
    out.write(f"{printable(run.key)}: {_state(changed)}\n")


def _state(run: SagaRun) -> str:
    """Return its state; of one that is paused, that it will not move."""
    return str(run.state) if run.paused_at is None else f"{run.state}, paused"


def _result(run: SagaRun, options: dict[str, Any]) -> dict[str, Any]:
    if options.get("result") is None:
        return {}
    data = _json(options, "result")
    return {"result": operations.result_from_json(run, options["step"], data)}


def _input(run: SagaRun, options: dict[str, Any]) -> dict[str, Any]:
    if options.get("input") is None:
        return {}
    return {"input": operations.input_from_json(run, _json(options, "input"))}


def _json(options: dict[str, Any], name: str) -> Any:
    try:
        return json.loads(options[name])
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--{name} is not valid JSON: {error}") from None


def _error(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("error", "code") if options.get(name) is not None}


def _who(options: dict[str, Any]) -> dict[str, str]:
    """Return who acts, and why. Whoever typed it is told as well where that is another one."""
    reason, person = options["reason"], options.get("actor")
    if person is None:
        return {"reason": reason, "actor": _actor()}
    return {"reason": f"{reason} ({_actor()})" if reason.strip() else "", "actor": person}


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number without a name.
        user = str(os.getuid())
    return f"cli:{user}"
