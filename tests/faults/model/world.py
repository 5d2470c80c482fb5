"""What happens outside: effects, their undoing, and parties that are asked for either."""

from tests.faults.model.rows import Rows, require
from tests.faults.model.state import (
    ASKED,
    DONE,
    FAILED,
    LATE,
    NOTHING,
    STRAY,
    UNDONE,
    UNKNOWN,
    VOID,
)


def ask_outside(rows: Rows, index: int) -> None:
    """Ask whoever completes the step; asked twice with a key, they decide once. To undo, each time."""
    if rows.is_backward(index) or not rows.parties[index]:
        rows.parties[index] = ASKED


def take_effect(rows: Rows, index: int, *, given_up: bool) -> None:
    """Do or undo what the row stands for; ``given_up``: nobody waits for it any more."""
    if rows.is_backward(index):
        _undo(rows, index - rows.plan.size)
    elif not given_up:
        rows.world[index] = DONE
    elif rows.world[index] in {NOTHING, UNDONE}:
        rows.world[index] = STRAY


def settle_outside(rows: Rows, index: int, *, done: bool) -> None:
    """An operator who says how a row ended has seen to it that this is so."""
    if done:
        rows.world[index] = DONE
    elif rows.is_backward(index):
        _undo(rows, index - rows.plan.size)


def _undo(rows: Rows, step: int) -> None:
    effect = rows.world[step]
    if effect in {DONE, STRAY, LATE}:
        rows.world[step] = VOID if rows.plan.refusing else UNDONE
    elif rows.plan.refusing:
        rows.world[step] = VOID


def require_its_turn(rows: Rows, step: int) -> None:
    """An undo begins when all is undone that came later, as far as anybody told of it."""
    for other in rows.plan.descendants[step] - rows.plan.no_compensation:
        given_up_on = rows.plan.continue_undoing and _undo_failed(rows, other)
        stands = rows.world[other] in {DONE, LATE} and not given_up_on
        require("what came last is undone first", not stands, f"{step} before {other}")


def _undo_failed(rows: Rows, step: int) -> bool:
    row = rows.rows[rows.plan.size + step]
    return row is not None and row.state in {FAILED, UNKNOWN}
