"""What the comparison was to show, each judged by the median of ratios within a round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.speed import contender
from benchmarks.speed.figures import Ratio, Record, latency, memory, rate, ratio
from benchmarks.speed.measure import Turn


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ratio of ours to another contender, and the bound it is to keep."""

    what: str
    limit: float
    ours: str = contender.IN_PLACE.name
    theirs: str = contender.BASELINE.name
    figure: Callable[[Turn], float | None] = rate
    at_least: bool = True

    def met_by(self, value: Ratio) -> bool:
        """Whether the median keeps the bound."""
        return value.median >= self.limit if self.at_least else value.median <= self.limit

    @property
    def bound(self) -> str:
        """The bound, in signs."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


TARGETS = (
    Target(what="sagas/s, in place ÷ chain()", limit=1.6),
    Target(what="idle latency p50, in place ÷ chain()", limit=0.8, figure=latency, at_least=False),
    Target(
        what="sagas/s, one message per step ÷ chain()", limit=0.55, ours=contender.PER_STEP.name
    ),
    Target(what="sagas/s, in place ÷ DBOS queue", limit=2.2, theirs=contender.DBOS.name),
    Target(
        what="sagas/s, in place ÷ chain() with django-db results",
        limit=6,
        theirs=contender.CHAIN_DJANGO_DB.name,
    ),
    Target(what="worker memory, in place ÷ chain()", limit=1.3, figure=memory, at_least=False),
)


def verdicts(records: Sequence[Record]) -> list[tuple[object, ...]]:
    """Return a row for each target: what, its bound, what was measured, and the verdict."""
    by_name = {record.name: record for record in records}
    return [_verdict(target, by_name) for target in TARGETS]


def _verdict(target: Target, records: dict[str, Record]) -> tuple[object, ...]:
    ours, theirs = records.get(target.ours), records.get(target.theirs)
    found = ratio(ours, theirs, target.figure) if ours and theirs else None
    if found is None:
        return target.what, target.bound, "-", "not measured"
    return target.what, target.bound, found, "met" if target.met_by(found) else "**missed**"
