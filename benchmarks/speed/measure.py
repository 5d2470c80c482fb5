"""One turn of one contender: what it does in a few seconds of a machine for itself."""

import time
from dataclasses import dataclass, field

from benchmarks.speed.system import System


WARM_STEPS = 20
COUNTED_STEPS = 100
SETTLE_SECONDS = 0.3
"""The last step's body has run; what its system writes afterwards must not be cut."""
FIRST_SECONDS = 90.0
STUCK_SECONDS = 60.0
MOST_STEPS = 15_000


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the parts of a turn may take."""

    drain_seconds: float
    """About; the backlog is as long as the last rate says."""
    latencies: int
    latency_seconds: float


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What was measured; None is what was not, such as statements without a database."""

    sagas: int = 0
    sagas_per_s: float | None = None
    cpu_ms_per_saga: float | None = None
    memory_mib: float | None = None
    statements_per_saga: float | None = None
    commits_per_saga: float | None = None
    messages_per_saga: float | None = None
    caller_cpu_ms: float | None = None
    database_cpu_ms: float | None = None
    """Of a start, where only starting is measured."""
    latencies_ms: list[float] = field(default_factory=list)


def take_turn(system: System, lengths: Lengths) -> Turn:
    """Measure, while everything else stands still; afterwards the system stands still again.

    Raises:
        Stuck: its sagas do not end.
    """
    system.go_on()
    counts = _count(system)
    sagas = round(min(system.rate * lengths.drain_seconds, MOST_STEPS / system.contender.steps))
    sagas = max(sagas, _sagas(system, COUNTED_STEPS), 2)
    rate, cpu = drain(system, sagas)
    latencies = system.one_by_one(lengths.latencies, lengths.latency_seconds)
    memory = system.use().memory_mib
    time.sleep(SETTLE_SECONDS)
    system.stand_still()
    return Turn(
        sagas=sagas,
        sagas_per_s=rate,
        cpu_ms_per_saga=cpu,
        memory_mib=memory,
        statements_per_saga=counts[0],
        commits_per_saga=counts[1],
        messages_per_saga=counts[2],
        latencies_ms=latencies,
    )


def drain(system: System, sagas: int) -> tuple[float, float]:
    """Let a backlog pile up before workers that stand still; return sagas/s and CPU ms per saga.

    Raises:
        Stuck: it does not end.
    """
    for worker in system.workers:
        worker.pause()
    before = system.use().cpu_seconds
    batch = system.submit(sagas)
    for worker in system.workers:
        worker.resume()
    seconds = system.wait(batch, sagas, STUCK_SECONDS)
    cpu = system.use().cpu_seconds - before
    time.sleep(SETTLE_SECONDS)
    system.rate = sagas / seconds
    return system.rate, 1000 * cpu / sagas


def warm_up(system: System) -> None:
    """Let every process import, connect and prepare; that sagas end says that it is ready.

    Raises:
        Stuck: they do not.
    """
    few, more = _sagas(system, WARM_STEPS), _sagas(system, COUNTED_STEPS)
    for seconds in (FIRST_SECONDS, STUCK_SECONDS):
        system.wait(system.submit(few), few, seconds)
    system.rate = more / system.wait(system.submit(more), more, STUCK_SECONDS)


def _sagas(system: System, steps: int) -> int:
    """Return how many sagas have about so many steps together."""
    return max(1, steps // system.contender.steps)


def _count(system: System) -> tuple[float | None, float | None, float | None]:
    """Return statements, commits and messages per saga, starting it included."""
    sagas = _sagas(system, COUNTED_STEPS)
    before = system.messages()
    if system.statements is not None:
        system.statements.begin()
    system.wait(system.submit(sagas), sagas, STUCK_SECONDS)
    time.sleep(SETTLE_SECONDS)
    statements = commits = sent = None
    if system.parts.redis:
        sent = (system.messages() - before) / sagas
    if system.statements is not None:
        found = system.statements.end()
        statements, commits = (number / sagas for number in found)
    return statements, commits, sent
