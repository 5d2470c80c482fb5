"""A TCP proxy between one worker and its broker, which can be cut.

While it is cut, every connection through it is dropped at once and new ones are refused.
"""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from benchmarks.plant.servers.process import free_port


OUTAGE_SECONDS = 1.0


class Proxy:
    """Runs in a thread of its own; whoever connects to ``switch_port`` and says ``cut`` cuts it."""

    def __init__(self, url: str) -> None:
        """``url`` is where the broker really is."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self.port = free_port()
        self.switch_port = free_port()
        credentials, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))
        self._open: set[asyncio.StreamWriter] = set()
        self._outages = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        self._door = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self._switch = await asyncio.start_server(self._obey, "127.0.0.1", self.switch_port)

    async def _stop(self) -> None:
        self._switch.close()
        self._drop()
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)
        self._door.close()

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline() != b"cut\n":
            return
        self._outages += 1
        self._drop()
        writer.write(b"done\n")
        writer.close()
        await asyncio.sleep(OUTAGE_SECONDS)
        self._outages -= 1
        if not self._outages:  # else another cut came meanwhile, and opens the door again
            self._door = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    def _drop(self) -> None:
        self._door.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(*self._target)
            self._open |= {writer, there_writer}
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
            self._open -= {writer, there_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
