"""``purge``: deleting what has been over for long enough."""

from collections.abc import Generator
from typing import Any, TextIO

from django.core.management.base import CommandError

from sagas.durations import parse_duration
from sagas.health import counts_by_state
from sagas.models import moments
from sagas.retention import purge, purge_records


def add_to(subparsers: Any) -> None:
    """Add the subcommand of this module."""
    parser = subparsers.add_parser(
        "purge",
        help="delete sagas that ended long ago, with their steps and events, and old records of keys",
    )
    parser.add_argument("--older-than", required=True, help="such as 90d or 12h, since they ended")
    parser.add_argument(
        "--batch", type=int, default=500, help="sagas per transaction; default: 500"
    )
    parser.add_argument(
        "--include-dead-letters",
        action="store_true",
        help="also those that nobody settled, since their last change",
    )
    parser.set_defaults(do=run_purge)


def run_purge(out: TextIO, options: dict[str, Any]) -> None:
    """Delete in batches, then say how many went and what is left."""
    if options["batch"] < 1:
        raise CommandError("--batch must be at least 1.")
    try:
        before = moments.now() - parse_duration(options["older_than"])
    except (ValueError, OverflowError) as error:
        raise CommandError(f"--older-than: {error}") from None
    batches = purge(
        before, batch_size=options["batch"], include_dead_letters=options["include_dead_letters"]
    )
    deleted, kept = _exhausted(batches)
    records = sum(purge_records(before, batch_size=options["batch"]))
    also = f" and {records} idempotency records" if records else ""
    left = {state: count for state, count in counts_by_state().items() if count}
    by_state = ", ".join(f"{state} {count}" for state, count in left.items())
    out.write(
        f"Purged {deleted}{also}. Left {sum(left.values())}{': ' if left else ''}{by_state}.\n"
    )
    if kept:
        out.write(f"Of those, {kept} are kept: rows refer to them whose on_delete forbids it.\n")


def _exhausted(batches: Generator[int, None, int]) -> tuple[int, int]:
    """Return how many were deleted in all batches, and how many were kept."""
    deleted = 0
    while True:
        try:
            deleted += next(batches)
        except StopIteration as end:
            return deleted, end.value
