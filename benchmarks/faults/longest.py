"""What the saga with the longest life waited for, as its events tell."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.plant.report import seconds


if TYPE_CHECKING:
    from benchmarks.faults.plant import Plant

LIFE = "SELECT id, extract(epoch FROM completed_at - created_at)::float8 FROM sagas_sagarun"
EVENTS = """
    SELECT type, to_state, extract(epoch FROM at)::float8 FROM sagas_sagaevent
    WHERE run_id = %s AND step_id IS NOT NULL AND from_state <> to_state ORDER BY id
"""
WAITS = {
    "ready": "for a worker to claim a step",
    "running": "for a handler, or for the lease of a lost attempt",
    "retrying": "between two attempts, and for a worker to claim the next",
}


@dataclass(frozen=True, kw_only=True)
class Longest:
    """The longest life: in seconds, and how often it waited for what, for how long together."""

    life: float
    waits: dict[str, tuple[int, float]]

    def __str__(self) -> str:
        """Return it as a sentence for the page."""
        told = ", ".join(
            f"{seconds(total)} {WAITS[what]} ({times} times)"
            for what, (times, total) in sorted(self.waits.items(), key=lambda one: -one[1][1])
        )
        return f"The longest life, of {seconds(self.life)}, waited {told}."


def longest(plant: "Plant") -> Longest:
    """Return what the longest life was spent on. An empty one if no saga ended."""
    lives = plant.query(f"{LIFE} WHERE completed_at IS NOT NULL ORDER BY 2 DESC LIMIT 1")
    if not lives:
        return Longest(life=0.0, waits={})
    ((run_id, life),) = lives
    events = plant.query(EVENTS, run_id)
    spent: dict[str, list[float]] = defaultdict(list)
    for (type_, state, began), (_, _, ended) in pairwise(events):
        what = "retrying" if type_ == "step_retrying" else state
        if what in WAITS:
            spent[what].append(ended - began)
    return Longest(life=life, waits={what: (len(all_), sum(all_)) for what, all_ in spent.items()})
