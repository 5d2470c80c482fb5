"""Celery's queue folder, fit for processes that are killed.

kombu's own ``filesystem`` transport opens a file and fills it afterwards. A reader that comes in
between, or a writer that dies there, leaves a worker with half a message, which ends it. Here a
file gets its name when it is complete.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic_ns
from typing import Any
from uuid import uuid4

from kombu import transport
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps


_counter = count()
"""Orders messages that one process writes within a tick of the clock."""


class Channel(filesystem.Channel):
    """Writes messages and bindings all at once."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]  # as kombu's
        folder = Path(self.data_folder_out)
        _write_at_once(
            folder / f"{monotonic_ns():020}_{next(_counter):010}_{uuid4()}.{queue}.msg", payload
        )

    def _queue_bind(
        self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None
    ) -> None:
        table = Path(self.control_folder) / f"{exchange}.exchange"
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with _only_one(table.with_suffix(".lock")):
            bindings = self.get_table(exchange)
            if binding not in bindings:
                _write_at_once(table, [binding, *bindings])


class Transport(filesystem.Transport):
    """The transport that ``filesystem://`` names after :func:`install`."""

    Channel = Channel


def install() -> None:
    """Let ``filesystem://`` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
    # kombu remembers what a name meant when it was first used.
    vars(transport)["_transport_cache"].pop("filesystem", None)


def _write_at_once(target: Path, content: Any) -> None:
    # The names of messages and bindings contain a dot, so nobody takes this one for either.
    draft = target.with_name(uuid4().hex)
    draft.write_text(dumps(content))
    draft.replace(target)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
