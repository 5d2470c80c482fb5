"""What every step and every compensation does, in all systems alike."""

import time

from benchmarks.faults.ledger import client
from benchmarks.faults.wishes import ANSWER_LOST, HANGS, NO_ANSWER, REFUSED, STUMBLES, Wish


class Refused(Exception):
    """The outside service said no."""


def perform(wish: Wish, step: str, key: str) -> str:
    """Call the outside service; meet the wish's trouble if this is its step.

    Raises:
        Refused: it said no, or has undone this before.
        ConnectionError: no answer arrived.
    """
    how = wish.how if wish.at == step else ""
    if how == REFUSED:
        raise Refused(f"{step} of {wish.saga} was refused")
    if how == NO_ANSWER:
        raise ConnectionError(f"no answer to {step} of {wish.saga}")
    answer = client.do(wish.saga, step, key)
    if answer.refused:
        raise Refused(f"{step} of {wish.saga} was undone before")
    time.sleep(wish.hold_ms / 1000)
    first = answer.calls == 1
    if how == HANGS and first:
        time.sleep(600)
    if how == ANSWER_LOST or (how == STUMBLES and first):
        raise ConnectionError(f"the answer to {step} of {wish.saga} was lost")
    return f"{step} of {wish.saga}"


def take_back(wish: Wish, step: str, key: str) -> None:
    """Undo one step at the outside service; if the wish says so, its first answer is lost.

    Raises:
        ConnectionError: no answer arrived.
    """
    answer = client.undo(wish.saga, step, key)
    time.sleep(wish.hold_ms / 1000)
    if wish.undo_stumbles and answer.calls == 1:
        raise ConnectionError(f"the answer to undoing {step} of {wish.saga} was lost")
