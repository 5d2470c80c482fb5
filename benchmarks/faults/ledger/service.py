"""The service: one process, one thread, so that its order of events is exact.

Run as ``python -m benchmarks.faults.ledger.service SOCKET LOG``. A request is one line of JSON, and
so is the answer.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO


class Books:
    """What was done and undone, by key."""

    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._done: set[str] = set()
        self._undone: set[str] = set()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lines = 0

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked, write it down, and answer."""
        operation, key = request["op"], request["key"]
        self._calls[operation, key] += 1
        applied = getattr(self, f"_{operation}")(key)
        answer = {
            "applied": applied,
            "refused": operation == "do" and key in self._undone,
            "done": key in self._done,
            "calls": self._calls[operation, key],
        }
        self._write({**request, **answer})
        return answer

    def _do(self, key: str) -> bool:
        if key in self._done or key in self._undone:
            return False
        self._done.add(key)
        return True

    def _undo(self, key: str) -> bool:
        first = key not in self._undone
        self._undone.add(key)
        return first and key in self._done

    def _say(self, _: str) -> bool:
        return True

    def _write(self, line: dict[str, Any]) -> None:
        self._lines += 1
        self._log.write(json.dumps({"number": self._lines, "moment": time.time(), **line}) + "\n")
        self._log.flush()


async def serve(socket: str, log: TextIO) -> None:
    """Answer for ever."""
    books = Books(log)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(books.handle(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, json.JSONDecodeError):
            pass  # the caller was killed in the middle of a line
        finally:
            writer.close()

    server = await asyncio.start_unix_server(talk, socket, backlog=256)
    await server.serve_forever()


def main() -> None:
    socket, path = sys.argv[1:]
    with Path(path).open("a") as log:
        asyncio.run(serve(socket, log))


if __name__ == "__main__":
    main()
