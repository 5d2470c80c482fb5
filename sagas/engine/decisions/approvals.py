"""A step that waits for a person to approve it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sagas.engine.decisions.outcomes import Waiting
from sagas.states import WaitKind


@dataclass(frozen=True, kw_only=True)
class WaitingForApproval(Waiting):
    """Nothing is done outside meanwhile: an approval is in the row, or it was not given."""

    permission: str
    four_eyes: bool = False
    kind: WaitKind = WaitKind.APPROVAL
    remind_after: timedelta | None = None

    @property
    def leaves_doubt(self) -> bool:
        """It does not: who approves says it here."""
        return False

    @property
    def leaves_at_large(self) -> bool:
        """It does not: no approval is taken for which nobody waits."""
        return False

    @property
    def yields_to_answer(self) -> bool:
        """It does not: who answered without being asked to approve had perhaps no right to."""
        return False

    def as_wait(self) -> dict[str, Any]:
        """Return what a row keeps of it; ``approvals`` are those that were given so far."""
        terms = {"permission": self.permission, "four_eyes": self.four_eyes}
        return {**super().as_wait(), **terms, "approvals": []}
