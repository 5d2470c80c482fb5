"""``manage.py saga``: what an operator does without a browser."""

from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandParser

from sagas.management.subcommands import acting, deploying, planning, purging, reading, watching


class Command(BaseCommand):
    """Dispatches to the subcommand that was asked for."""

    help = "Shows sagas, acts on them, and looks after them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Let each module add its own."""
        subparsers = parser.add_subparsers(dest="subcommand", required=True)
        for module in (reading, planning, acting, watching, deploying, purging):
            module.add_to(subparsers)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it."""
        options["do"](cast("TextIO", self.stdout), options)
