"""Can this code carry on, or undo, every saga that is open? Asked before a deploy; changes nothing.

:func:`check_inflight` reads the open runs in batches, so that its memory is that of one batch, and
loads whatever is stored with the types of this code; :mod:`~sagas.inflight.obstacles` says what may
still be called of a run. What starts or moves while it reads may be missed or seen twice.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from sagas.inflight.obstacles import STEP_COLUMNS, Obstacle, Problem, obstacles_of
from sagas.models import SagaRun, StepRun
from sagas.states import OPEN_SAGAS, OPEN_STEPS, SagaState


__all__ = ["Finding", "Problem", "Report", "check_inflight"]

BATCH = 500
"""How many runs are read at once, with their steps."""

_RUN_COLUMNS = (
    *("label", "version", "state", "input", "pivot_passed", "outcome_when_undone"),
    *("rewind_to", "rewinds"),
)


@dataclass(kw_only=True)
class Finding:
    """The same problem of the same step, over all runs of one version."""

    saga: str
    version: int
    step: str
    problem: Problem
    runs: int
    example: UUID
    """One of the runs."""

    detail: str
    """What a worker would say of that one."""


@dataclass(kw_only=True)
class Report:
    """What came of it."""

    runs: int
    """How many open runs were read."""

    stuck: int
    """How many of them this code cannot carry on, or not undo."""

    findings: list[Finding]


def check_inflight(
    *, batch_size: int = BATCH, on_progress: Callable[[int], None] = lambda _: None
) -> Report:
    """Ask of every open run (running, compensating, dead letter) whether this code can carry it.

    Of a completed run only steps are asked about for which nobody waits, not what a revert by hand
    would undo. ``on_progress`` is told after each batch how many runs were read.
    """
    found: dict[tuple[str, int, str, Problem], Finding] = {}
    report = Report(runs=0, stuck=0, findings=[])
    for batch in _batches(batch_size):
        rows = _steps_of(batch)
        for run in batch:
            obstacles = {(o.step, o.problem): o for o in obstacles_of(run, rows[run.pk])}
            report.stuck += bool(obstacles)
            for obstacle in obstacles.values():
                _count(found, run, obstacle)
        report.runs += len(batch)
        on_progress(report.runs)
    report.findings += (found[place] for place in sorted(found))
    return report


def _count(
    found: dict[tuple[str, int, str, Problem], Finding], run: SagaRun, obstacle: Obstacle
) -> None:
    place = (run.label, run.version, obstacle.step, obstacle.problem)
    if place not in found:
        found[place] = Finding(
            saga=run.label,
            version=run.version,
            step=obstacle.step,
            problem=obstacle.problem,
            runs=0,
            example=run.pk,
            detail=obstacle.detail,
        )
    found[place].runs += 1


def _batches(size: int) -> Iterator[list[SagaRun]]:
    """Yield the open runs by the index that has them; each state after the last id seen."""
    for state in sorted(OPEN_SAGAS):
        runs = SagaRun.objects.filter(state=state).only(*_RUN_COLUMNS).order_by("pk")
        following = runs
        while batch := list(following[:size]):
            yield batch
            following = runs.filter(pk__gt=batch[-1].pk)

    yield from _batches_of_unawaited(size)


def _batches_of_unawaited(size: int) -> Iterator[list[SagaRun]]:
    """Yield the completed runs of which a step is still to come or in flight."""
    open_steps = StepRun.objects.filter(
        state__in=OPEN_STEPS, detached=True, run__state=SagaState.COMPLETED
    )
    ids = open_steps.order_by("run_id").values_list("run_id", flat=True).distinct()
    following = ids
    while batch := list(following[:size]):
        yield list(SagaRun.objects.filter(pk__in=batch).only(*_RUN_COLUMNS))
        following = ids.filter(run_id__gt=batch[-1])


def _steps_of(runs: list[SagaRun]) -> dict[UUID, list[StepRun]]:
    rows: dict[UUID, list[StepRun]] = defaultdict(list)
    for row in (
        StepRun.objects.filter(run__in=[run.pk for run in runs]).only(*STEP_COLUMNS).order_by()
    ):
        rows[row.run_id].append(row)
    return rows
