"""Time-ordered ids (UUID version 7, RFC 9562 section 5.7).

Rows made one after another lie beside each other in the index, and sort by creation.
"""

import os
import time
import uuid
from threading import Lock


_lock = Lock()
_last_tick = 0


def uuid7() -> uuid.UUID:
    """Return a new id; within one process each is greater than the one before."""
    return uuid7s(1)[0]


def uuid7s(count: int) -> list[uuid.UUID]:
    """Return so many new ids, each greater than the one before.

    Layout: 48 bits of Unix milliseconds, 12 bits of sub-millisecond fraction (RFC 9562 section
    6.2, method 3), 62 random bits.
    """
    noise = os.urandom(8 * count)
    found = []
    for number, tick in enumerate(_next_ticks(count)):
        milliseconds, fraction = divmod(tick, 4096)
        random_bits = int.from_bytes(noise[8 * number : 8 * number + 8]) & ((1 << 62) - 1)
        value = (milliseconds & ((1 << 48) - 1)) << 80
        value |= 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits
        found.append(uuid.UUID(int=value))
    return found


def _next_ticks(count: int) -> range:
    """Return times in 1/4096 ms, never the same twice in this process."""
    global _last_tick  # noqa: PLW0603 the one counter of this process
    with _lock:
        first = max(time.time_ns() * 4096 // 1_000_000, _last_tick + 1)
        _last_tick = first + count - 1
    return range(first, first + count)
