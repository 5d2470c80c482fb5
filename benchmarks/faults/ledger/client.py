"""How a handler calls the service. Needs nothing but the standard library."""

import json
import os
import socket
from dataclasses import dataclass
from typing import Any


SOCKET_VARIABLE = "FAULTS_LEDGER"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the service says of a key."""

    applied: bool
    """Whether this very call had an effect."""
    refused: bool
    """It was undone before; it will not be done any more."""
    done: bool
    calls: int
    """How often this was asked by now, this time included."""


def do(saga: str, step: str, key: str) -> Answer:
    """Let the effect happen, once."""
    return _call(op="do", saga=saga, step=step, key=key)


def undo(saga: str, step: str, key: str) -> Answer:
    """Take the effect back, or see to it that it never happens."""
    return _call(op="undo", saga=saga, step=step, key=key)


def say(saga: str, state: str) -> None:
    """Tell what became of a saga, for systems that keep no state of their own."""
    _call(op="say", saga=saga, step=state, key=saga)


def _call(**request: Any) -> Answer:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(os.environ[SOCKET_VARIABLE])
        connection.sendall(json.dumps({**request, "pid": os.getpid()}).encode() + b"\n")
        with connection.makefile() as lines:
            return Answer(**json.loads(lines.readline()))
