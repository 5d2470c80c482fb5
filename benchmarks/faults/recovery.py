"""How long a saga that was hit by a fault stood still.

The time runs from the fault, by the database's clock, to the next moment at which a step of the same
saga is claimed, or the saga ends, as its journal tells. Whatever else happens to it meanwhile, such
as the next fault, is in that time.
"""

from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from benchmarks.faults.inflict import KINDS, Fault
from benchmarks.faults.plant import Plant


PROGRESS = ["step_claimed", "completed", "compensated", "cancelled", "dead_lettered"]


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """The times of one kind of fault, in seconds."""

    kind: str
    faults: int
    seconds: list[float]
    """Of each saga that was hit, in ascending order."""
    never: int

    def percentile(self, share: float) -> float | None:
        """Return the time that this share of the sagas did not exceed."""
        if not self.seconds:
            return None
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


def measure(plant: Plant, faults: list[Fault]) -> list[Recovery]:
    """Return the recovery times by kind of fault."""
    seconds: dict[str, list[float]] = defaultdict(list)
    never: dict[str, int] = defaultdict(int)
    for fault in faults:
        found = _progress_after(plant, fault)
        seconds[fault.kind] += found.values()
        never[fault.kind] += len(fault.hit - found.keys() - _ended_before(plant, fault))
    return [
        Recovery(
            kind=kind,
            faults=sum(fault.kind == kind for fault in faults),
            seconds=sorted(seconds[kind]),
            never=never[kind],
        )
        for kind in KINDS
        if any(fault.kind == kind for fault in faults)
    ]


def _progress_after(plant: Plant, fault: Fault) -> dict[UUID, float]:
    rows = plant.query(
        "SELECT run_id, extract(epoch FROM min(at) - %s)::float8 FROM sagas_sagaevent"
        " WHERE run_id = ANY(%s) AND at > %s AND type = ANY(%s) GROUP BY run_id",
        fault.at,
        list(fault.hit),
        fault.at,
        PROGRESS,
    )
    return dict(rows)


def _ended_before(plant: Plant, fault: Fault) -> set[UUID]:
    """They ended in the moment between the look at the rows and the fault: it did not hit them."""
    rows = plant.query(
        "SELECT id FROM sagas_sagarun WHERE id = ANY(%s) AND completed_at <= %s",
        list(fault.hit),
        fault.at,
    )
    return {run for (run,) in rows}
