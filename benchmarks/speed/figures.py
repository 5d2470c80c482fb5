"""From turns to figures: medians over rounds, and ratios within a round only."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed.contender import FIVE_STEPS
from benchmarks.speed.measure import Turn


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The median of what each round gave, and the least and the most of it."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.least:.2f}-{self.most:.2f}]"


@dataclass(kw_only=True)
class Record:
    """What one contender did, round by round. A round that it could not do is None."""

    name: str
    workload: str = FIVE_STEPS
    versions: str = ""
    turns: list[Turn | None] = field(default_factory=list)
    absent: str = ""
    """Why there is no figure, or not one of every round."""

    def done(self) -> list[Turn]:
        """The rounds that were measured."""
        return [turn for turn in self.turns if turn is not None]

    def middle(self, figure: Callable[[Turn], float | None]) -> float | None:
        """Return the median of a figure over the rounds; None where it was never measured."""
        found = [value for turn in self.done() if (value := figure(turn)) is not None]
        return median(found) if found else None

    def latency(self, share: float) -> float | None:
        """Return a percentile of all latencies of all rounds, in ms."""
        found = sorted(one for turn in self.done() for one in turn.latencies_ms)
        return found[min(int(share * len(found)), len(found) - 1)] if found else None


def rate(turn: Turn) -> float | None:
    return turn.sagas_per_s


def latency(turn: Turn) -> float | None:
    return median(turn.latencies_ms) if turn.latencies_ms else None


def memory(turn: Turn) -> float | None:
    return turn.memory_mib


def ratio(
    ours: Record, theirs: Record, figure: Callable[[Turn], float | None] = rate
) -> Ratio | None:
    """Compare two records round by round; None when no round has both."""
    rounds = []
    for mine, other in zip(ours.turns, theirs.turns, strict=False):
        if mine is None or other is None:
            continue
        above, below = figure(mine), figure(other)
        if above is not None and below:
            rounds.append(above / below)
    if not rounds:
        return None
    return Ratio(median=median(rounds), least=min(rounds), most=max(rounds))


def as_object(record: Record, baseline: Record | None) -> dict[str, Any]:
    """Return one object of the results; what was not measured is null, never zero.

    Without a baseline from the same rounds there is no ratio to it.
    """
    compared = None if baseline is None else ratio(record, baseline)
    return {
        "contender": record.name,
        "workload": record.workload,
        "sagas_per_s": _rounded(record.middle(rate), 1),
        "ratio_to_chain": _rounded(compared.median if compared else None, 3),
        "latency_p50_ms": _rounded(record.latency(0.5), 2),
        "latency_p99_ms": _rounded(record.latency(0.99), 2),
        "statements_per_saga": _rounded(record.middle(lambda turn: turn.statements_per_saga), 1),
        "commits_per_saga": _rounded(record.middle(lambda turn: turn.commits_per_saga), 1),
        "messages_per_saga": _rounded(record.middle(lambda turn: turn.messages_per_saga), 1),
        "worker_cpu_ms_per_saga": _rounded(record.middle(lambda turn: turn.cpu_ms_per_saga), 2),
        "worker_rss_mib": _rounded(record.middle(memory), 1),
    }


def write_results(path: Path, results: Iterable[dict[str, Any]]) -> None:
    """Put the objects in the places of those with the same contender and workload, or at the end.

    One a line, so that a change of one is a change of a line.
    """
    known = json.loads(path.read_text()) if path.exists() else []
    merged = {(one["contender"], one["workload"]): one for one in [*known, *results]}
    lines = [json.dumps(one, ensure_ascii=False) for one in merged.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
