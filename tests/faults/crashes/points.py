"""Where a fault may strike, and once per saga where it is planned.

A plan is a file named by its saga. That it struck is a file as well, made before the blow, so no
restart of any process strikes twice.
"""

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import psutil

from tests.faults.crashes import blows


class Boundary(StrEnum):
    """A point between two things that the engine does."""

    BEFORE_CLAIM = "before claim"
    AFTER_CLAIM = "after claim"
    IN_LOOKUP = "in look-up"
    """Of the handler, in the code that this worker has."""
    BEFORE_EFFECT = "before effect"
    AFTER_EFFECT = "after effect"
    BEFORE_OUTCOME = "before outcome"
    IN_OUTCOME = "in outcome"
    """Written, not committed."""
    AFTER_OUTCOME = "after outcome"
    BEFORE_ANSWER = "before answer"
    """An outside party's, for a step that waits or is about to."""
    IN_ANSWER = "in answer"
    """Written, not committed."""
    BEFORE_SEND = "before send"
    """Committed; the message of what follows is not sent."""
    AFTER_SEND = "after send"
    BEFORE_ERROR_DOOR = "before error door"
    AFTER_ERROR_DOOR = "after error door"
    BEFORE_SUCCESS_DOOR = "before success door"
    AFTER_SUCCESS_DOOR = "after success door"
    BEFORE_GIVING_UP = "before giving up"
    """The sweep found an attempt whose lease ran out."""
    AFTER_GIVING_UP = "after giving up"
    BEFORE_RESEND = "before resend"
    AFTER_RESEND = "after resend"
    BEFORE_DEADLINE = "before deadline"
    """The sweep found a run whose deadline passed."""
    IN_DEADLINE = "in deadline"
    """Written, not committed."""


IN_HANDLER = (Boundary.BEFORE_EFFECT, Boundary.AFTER_EFFECT)
IN_SWEEP = frozenset(
    {
        Boundary.BEFORE_GIVING_UP,
        Boundary.AFTER_GIVING_UP,
        Boundary.BEFORE_RESEND,
        Boundary.AFTER_RESEND,
        Boundary.BEFORE_DEADLINE,
        Boundary.IN_DEADLINE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A step of a saga, as it is known where a boundary is reached."""

    run_id: UUID
    step: str
    direction: str = "forward"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to strike one saga, and where."""

    fault: blows.Fault
    boundary: Boundary
    step: str
    direction: str = "forward"

    def write(self, folder: Path, run_id: UUID) -> None:
        """Have it carried out. To be called before a worker can know of the saga."""
        _plan_of(folder, run_id).write_text(json.dumps(asdict(self)))


def struck(folder: Path, run_id: UUID) -> bool:
    """Whether the fault that was planned for a saga has struck."""
    return _mark_of(folder, run_id).exists()


def who_was_struck(folder: Path, run_id: UUID) -> int:
    """Return the id of the process that was struck; 0: it has not said yet."""
    return int(_mark_of(folder, run_id).read_text() or 0)


def lives_on(folder: Path, run_id: UUID) -> bool:
    """Whether the process that was struck is still there; another one may have its id by now."""
    struck_at = _mark_of(folder, run_id).stat().st_mtime
    try:
        began: float = psutil.Process(who_was_struck(folder, run_id)).create_time()
    except psutil.NoSuchProcess:
        return False
    return began <= struck_at


class _Armed:
    folder: Path | None = None
    main_process = 0


def arm(folder: Path) -> None:
    """Strike in this worker and its children, as the plans in a folder say."""
    _Armed.folder = folder
    _Armed.main_process = os.getpid()


def reach(boundary: Boundary, place: Place | None) -> None:
    """Strike, if it was planned for here and has not happened yet."""
    folder = _Armed.folder
    if folder is None or place is None:
        return
    in_main_process = os.getpid() == _Armed.main_process
    if in_main_process != (boundary in IN_SWEEP):
        return
    path = _plan_of(folder, place.run_id)
    if not path.exists():
        return
    plan = json.loads(path.read_text())
    here = (plan["boundary"], plan["step"], plan["direction"])
    if here == (boundary, place.step, place.direction) and _is_first(folder, place.run_id):
        blows.strike(plan["fault"], in_handler=boundary in IN_HANDLER)


def _is_first(folder: Path, run_id: UUID) -> bool:
    try:
        with _mark_of(folder, run_id).open("x") as mark:
            mark.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def _plan_of(folder: Path, run_id: UUID) -> Path:
    return folder / f"{run_id}.plan"


def _mark_of(folder: Path, run_id: UUID) -> Path:
    return folder / f"{run_id}.struck"
