"""What the comparison was to show, each judged by the median of ratios within a round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.speed import contender
from benchmarks.speed.figures import Ratio, Record, latency, memory, rate, ratio
from benchmarks.speed.measure import Turn


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ratio of ours to another contender, and the bound that its median is to keep."""

    what: str
    least: float | None = None
    most: float | None = None
    ours: str = contender.IN_PLACE.name
    theirs: str = contender.BASELINE.name
    figure: Callable[[Turn], float | None] = rate


TARGETS = (
    Target(what="sagas/s, in place ÷ chain()", least=1.6),
    Target(what="idle latency p50, in place ÷ chain()", most=0.8, figure=latency),
    Target(
        what="sagas/s, one message per step ÷ chain()", least=0.55, ours=contender.PER_STEP.name
    ),
    Target(what="sagas/s, in place ÷ DBOS queue", least=2.2, theirs=contender.DBOS.name),
    Target(
        what="sagas/s, in place ÷ chain() with django-db results",
        least=6,
        theirs=contender.CHAIN_DJANGO_DB.name,
    ),
    Target(what="worker memory, in place ÷ chain()", most=1.3, figure=memory),
)


def verdicts(records: Sequence[Record]) -> list[tuple[object, ...]]:
    """Return a row for each target: what, its bound, what was measured, and the verdict."""
    by_name = {record.name: record for record in records}
    return [_verdict(target, by_name) for target in TARGETS]


def _verdict(target: Target, records: dict[str, Record]) -> tuple[object, ...]:
    ours, theirs = records.get(target.ours), records.get(target.theirs)
    found = ratio(ours, theirs, target.figure) if ours and theirs else None
    return bounded(target.what, found, least=target.least, most=target.most)


def bounded(
    what: str, found: Ratio | None, *, least: float | None = None, most: float | None = None
) -> tuple[object, ...]:
    """Return a row: what, the bound, what was measured, and whether its median keeps the bound."""
    bound = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
    if found is None:
        return what, bound, "-", "not measured"
    kept = (least is None or found.median >= least) and (most is None or found.median <= most)
    return what, bound, found, "met" if kept else "**missed**"
