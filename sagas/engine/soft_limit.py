"""Celery's soft time limit interrupts a handler, and nothing else.

A prefork pool sends its child a signal, and whatever runs there at that moment is interrupted. The
limit is the handler's: were it to fall into the recording of an outcome, that would be lost. So
while a step runs, the signal counts only within its handler. One that came too early, because the
claim had to wait, is sent again when the handler has had its time.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from billiard.pool import soft_timeout_sighandler


class _Limit:
    """The state of this process's main thread, where Python runs its signal handlers."""

    engine_works = False
    """A step is being run, handler or not."""

    in_handler = False
    missed = False
    """The signal came before the handler began."""

    of_pool: float | None = None
    seconds: float | None = None
    until = float("inf")


_limit = _Limit()


def know_limit_of_pool(seconds: float | None) -> None:
    """Remember what the pool itself interrupts after, when a task says nothing: its children inherit it."""
    _limit.of_pool = seconds


def limit_of_pool() -> float | None:
    """Return it."""
    return _limit.of_pool


@contextmanager
def only_in_handlers(seconds: float | None) -> Iterator[None]:
    """Let the limit, of ``seconds`` if it is known, interrupt nothing but handlers in the block."""
    if not _is_interruptible():
        yield
        return
    signal.signal(signal.SIGUSR1, _on_signal)
    _limit.engine_works, _limit.missed, _limit.seconds = True, False, seconds
    _limit.until = float("inf")
    try:
        yield
    finally:
        _limit.engine_works = False


def _is_interruptible() -> bool:
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGUSR1) in {soft_timeout_sighandler, _on_signal}


@contextmanager
def interrupts() -> Iterator[None]:
    """Let the limit interrupt the block, which is a handler."""
    if not _limit.engine_works or threading.current_thread() is not threading.main_thread():
        yield
        return
    if _limit.until == float("inf") and _limit.seconds is not None:
        _limit.until = time.monotonic() + _limit.seconds
    _limit.in_handler = True
    try:
        yield
    finally:
        _limit.in_handler = False


def send_if_missed() -> None:
    """Send the signal again that came before the handler began, when its time is over."""
    if _limit.missed and _limit.in_handler and time.monotonic() >= _limit.until:
        _limit.missed = False
        os.kill(os.getpid(), signal.SIGUSR1)


def _on_signal(number: int, frame: FrameType | None) -> Any:
    if _limit.in_handler or not _limit.engine_works:
        soft_timeout_sighandler(number, frame)
    _limit.missed = True
