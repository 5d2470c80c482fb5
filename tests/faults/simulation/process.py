"""A worker process, while it executes a message."""

from dataclasses import dataclass, field
from uuid import UUID

from tests.faults.simulation.scenario import Mishap


class Killed(BaseException):
    """The process is gone."""

    def __init__(self, point: str) -> None:
        """It died there."""
        super().__init__(point)
        self.committed = point == "before send"


@dataclass
class Process:
    """It executes one attempt, and what follows in place: then it is made anew for that."""

    old: bool = False
    """Its code is that of the deploy before."""

    step_id: UUID | None = None
    fence: int = 0
    mishaps: list[Mishap] = field(default_factory=list)
    """What is still to happen to this attempt."""

    meets: str = ""
    last: bool = False
    unready: list[str] = field(default_factory=list)
    """What stood on the step to undo when this attempt was claimed."""

    awake: bool = True
    """This attempt has not slept beyond its lease."""

    acted: str = ""
    """The key under which this attempt acted."""
