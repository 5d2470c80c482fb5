"""``docs/reference/verbs.md``."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial

from sagas.models import SagaRun
from sagas.operations.verbs import RunVerb, StepVerb, run_verbs, step_verbs
from tools.reference import markdown
from tools.reference.source import one_line


INTRODUCTION = """
What an operator can do, from `sagas.operations`; the admin and the command line call the same functions. Each takes the run's lock, asks the verb's rule what the rows
allow *now*, writes an event with `reason` and `actor`, and returns the run as it is then. A verb that is refused raises `ActionNotAllowed`, which says why, and
what is allowed instead; a run that another transaction keeps locked is `TransactionLocked`. `allowed_actions(run)` names what is allowed, `preview_compensation(run)` lists
what would be undone.
"""


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Operator verbs",
        "sagas/operations",
        INTRODUCTION,
        "## For a run",
        _table(run_verbs()),
        "## For a step",
        _table(step_verbs()),
        "## In detail",
        *_details(),
    )


def _table(verbs: Sequence[RunVerb] | Sequence[StepVerb]) -> str:
    rows = [
        [
            markdown.code(verb.name),
            markdown.code(f"manage.py saga {verb.name.replace('_', '-')}"),
            markdown.code(verb.permission),
            f"{verb.help[:1].upper()}{verb.help[1:]}.",
        ]
        for verb in verbs
    ]
    return markdown.table(["Verb", "Command", "Permission", "Meaning"], rows)


def _details() -> list[str]:
    parts = []
    verbs: list[RunVerb | StepVerb] = [*run_verbs(), *step_verbs()]
    functions = [_function(verb.operation) for verb in verbs]
    for function in dict.fromkeys(functions):
        told, *more = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        parts += [f"### `{_call(function)}`", one_line(told), *map(_paragraph, more)]
    return parts


def _function(operation: Callable[..., SagaRun]) -> Callable[..., SagaRun]:
    return operation.func if isinstance(operation, partial) else operation


def _call(function: Callable[..., SagaRun]) -> str:
    names = [
        f"{name}=..." if parameter.kind is parameter.KEYWORD_ONLY else name
        for name, parameter in inspect.signature(function).parameters.items()
    ]
    return f"{function.__name__}({', '.join(names)})"


def _paragraph(text: str) -> str:
    heading, _, rest = text.partition("\n")
    if heading != "Raises:":
        return one_line(text)
    raised: list[str] = []
    for line in inspect.cleandoc(rest).splitlines():
        if line.startswith(" "):
            raised[-1] += f" {line.strip()}"
        else:
            error, _, why = line.partition(": ")
            raised.append(f"- {', '.join(map(markdown.code, error.split(', ')))}: {why}")
    return "\n".join(["Raises:", "", *(item.replace("``", "`") for item in raised)])
