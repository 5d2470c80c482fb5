"""Everyone takes turns, round by round, while the processes of all others stand still."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from benchmarks.plant.environment import Absent
from benchmarks.plant.servers.process import Unavailable
from benchmarks.plant.servers.redis import start_redis
from benchmarks.speed.contender import FIVE_STEPS, Contender
from benchmarks.speed.figures import Record, ratio
from benchmarks.speed.measure import Lengths, Turn, take_turn, warm_up
from benchmarks.speed.system import Stuck, System, running


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who takes turns, how often, and for how long. The first is what the others are compared with."""

    contenders: Sequence[Contender]
    rounds: int
    lengths: Lengths
    postgres: Mapping[str, str] = field(default_factory=dict)
    """Options of the contenders' servers."""
    before: Callable[[System], None] = lambda _: None
    """Called for each system when it runs, before it is measured."""
    after: Callable[[System], None] = lambda _: None
    """Called for each system after each of its turns."""


@contextmanager
def ledger() -> Iterator[str]:
    """Start the Redis to which all handlers tell, and give its URL."""
    server = start_redis()
    try:
        yield f"{server.url}/0"
    finally:
        server.remove()


def take_rounds(plan: Plan) -> list[Record]:
    """Run the rounds and show each turn; return a record for each contender."""
    records = [Record(name=one.name, workload=one.workload) for one in plan.contenders]
    with ExitStack() as stack:
        url = stack.enter_context(ledger())
        systems = [
            _made_ready(stack, contender, record, url, plan)
            for contender, record in zip(plan.contenders, records, strict=True)
        ]
        for number in range(1, plan.rounds + 1):
            for seat, record in enumerate(records):
                systems[seat] = _take_turn(systems[seat], record, plan)
                if record.turns[-1] is not None:
                    _say(f"round {number}/{plan.rounds}  {_line(record, records[0])}")
    return records


def _made_ready(
    stack: ExitStack, contender: Contender, record: Record, url: str, plan: Plan
) -> System | None:
    """Return the system, standing still; None, and the reason in the record, when it cannot run."""
    try:
        record.versions = contender.versions()
        system = stack.enter_context(running(contender, url, **plan.postgres))
        warm_up(system)
        plan.before(system)
    except (Absent, Unavailable, Stuck) as error:
        _drop(record, error)
        return None
    system.stand_still()
    _say(f"ready: {_title(record)} ({record.versions})")
    return system


def _take_turn(system: System | None, record: Record, plan: Plan) -> System | None:
    """Add a turn to the record: None, when the contender is out of the run."""
    turn: Turn | None = None
    if system is not None:
        try:
            turn = take_turn(system, plan.lengths)
            plan.after(system)
        except Stuck as stuck:
            _drop(record, stuck)
            system.stand_still()
            system = None
    record.turns.append(turn)
    return system


def _drop(record: Record, error: Exception) -> None:
    record.absent = str(error).splitlines()[0]
    _say(f"out of the run: {_title(record)}: {error}")


def _title(record: Record) -> str:
    return record.name if record.workload == FIVE_STEPS else f"{record.name}, {record.workload}"


def _line(record: Record, first: Record) -> str:
    """Show the last turn."""
    turn = record.turns[-1]
    assert turn is not None  # noqa: S101 shown only when measured
    one = Record(name=record.name, turns=[turn])
    compared = ratio(one, Record(name=first.name, turns=first.turns[-1:]))
    return (
        f"{_title(record):<52}{turn.sagas_per_s or 0:8.1f} sagas/s"
        f"  x {compared.median if compared else float('nan'):5.2f}"
        f"  p50 {one.latency(0.5) or float('nan'):7.1f} ms"
        f"  {turn.cpu_ms_per_saga or 0:6.2f} ms CPU  {turn.memory_mib or 0:4.0f} MiB"
        f"  ({turn.sagas} sagas)"
    )


def _say(text: str) -> None:
    print(text, flush=True)
