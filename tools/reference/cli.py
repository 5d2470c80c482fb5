"""``docs/reference/cli.md``."""

import argparse

from django.core.management import load_command_class

from tools.reference import markdown


INTRODUCTION = """
`manage.py saga` does in a shell what the admin does in a browser. A run is named by its id or by its key. The exit code is 0, or 1 when something was refused
or is wrong; what was refused is said on the error output, and of several runs one that refuses keeps no other from it.
"""


def page() -> str:
    """Return the page."""
    parts = []
    for name, parser, says in _subcommands():
        arguments = [action for action in parser._actions if action.dest != "help"]  # noqa: SLF001
        rows = [[markdown.code(_name(one)), _meaning(one)] for one in arguments]
        usage = " ".join(["manage.py saga", name, *map(_usage, arguments)])
        parts += [f"## `{name}`", f"{says[:1].upper()}{says[1:]}.", f"```\n{usage}\n```"]
        parts += [markdown.table(["Argument", "Meaning"], rows)] if any(r[1] for r in rows) else []
    return markdown.page(
        "The command line: `manage.py saga`", "sagas/management", INTRODUCTION, *parts
    )


def _subcommands() -> list[tuple[str, argparse.ArgumentParser, str]]:
    parser = load_command_class("sagas", "saga").create_parser("manage.py", "saga")
    (subparsers,) = (
        action
        for action in parser._actions  # noqa: SLF001 argparse shows them nowhere else
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    )
    says = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}  # noqa: SLF001
    return [(name, found, says[name]) for name, found in subparsers.choices.items()]


def _name(action: argparse.Action) -> str:
    return action.option_strings[0] if action.option_strings else _value(action)


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"{_value(action)} ..." if action.nargs == "+" else _value(action)
    value = "" if action.nargs == 0 else f" {_value(action)}"
    option = f"{action.option_strings[0]}{value}"
    return option if action.required else f"[{option}]"


def _value(action: argparse.Action) -> str:
    return str(action.metavar or action.dest).upper()


def _meaning(action: argparse.Action) -> str:
    choices = f"one of {', '.join(map(str, action.choices))}" if action.choices else ""
    return "; ".join(filter(None, (action.help, choices)))
