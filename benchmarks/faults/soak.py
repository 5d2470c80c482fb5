"""The soak: thousands of sagas, and every second or two a fault.

Run as ``python -m benchmarks.faults.soak --sagas 10000``; ends with status 1 when a saga is lost,
says what is not so, or is undone out of order. Afterwards some kinds of fault are inflicted on their
own, at a pace that lets the system recover in between, which is what recovery times can be read from.
"""

import argparse
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import recovery, soak_report
from benchmarks.faults.feeder import Feeder
from benchmarks.faults.inflict import DECK, KINDS, Inflictor
from benchmarks.faults.judge import Verdict, judge_all
from benchmarks.faults.ledger import books
from benchmarks.faults.longest import Longest, longest
from benchmarks.faults.plant import Plant, running_plant
from benchmarks.faults.wishes import Wish, wish
from benchmarks.plant.progress import Progress


WORKERS = 2
CHILDREN = 2
HOLD_MS, LONG_HOLD_MS, LONG_EVERY = 5, 300, 10
"""How long a step takes; every tenth saga has long ones, in which most of the faults then fall."""
ALONE = ["kill_child", "kill_worker", "flush", "restart_broker", "cut_database"]
STUCK_SECONDS = 120.0
"""A saga that has not ended so long after the last fault is stuck."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the run: which faults, how often, on how many sagas at a time."""

    name: str
    kinds: Sequence[str]
    every: tuple[float, float]
    at_a_time: int
    sagas: int
    faults: int | None = None
    """It ends after so many, or when all sagas were started."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says."""

    seed: int
    phases: Sequence[Phase]
    report: Path | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of the run."""

    options: Options
    verdict: Verdict
    recoveries: list[recovery.Recovery]
    alone: list[recovery.Recovery]
    faults: int
    """Of the first phase."""
    rate: float
    """Sagas per second of the first phase, its end included."""
    started_again: int
    longest: Longest
    rows: dict[str, int]
    parts: str


class Soak:
    """One run."""

    def __init__(self, plant: Plant, options: Options) -> None:
        self._plant = plant
        self._options = options
        self._inflictor = Inflictor(plant=plant, dice=random.Random(options.seed))  # noqa: S311
        self._progress = Progress()
        self._wishes: list[Wish] = []
        self._started_again = 0

    def run(self) -> Result:
        """Run all phases, and judge."""
        self._plant.start_workers(WORKERS, CHILDREN)
        rates = [self._run_phase(phase) for phase in self._options.phases]
        self._progress.end()
        return self._judge(rates[0])

    def _run_phase(self, phase: Phase) -> float:
        """Feed, inflict, and wait for the end. Returns the sagas per second."""
        first = len(self._wishes)
        wishes = [_wish(first + number) for number in range(phase.sagas)]
        feeder = Feeder(wishes=wishes, at_a_time=phase.at_a_time)
        began = time.monotonic()
        feeder.begin()
        try:
            self._inflict(phase, feeder)
            self._inflictor.end_all()
        finally:
            feeder.end()
        self._wishes += wishes[: feeder.started]
        self._started_again += feeder.retried
        self._drain(phase)
        return feeder.started / (time.monotonic() - began)

    def _inflict(self, phase: Phase, feeder: Feeder) -> None:
        """Inflict each kind once, then all in shuffled rounds, each as often as the deck says."""
        inflictor = self._inflictor
        inflictor.phase = phase.name
        enough = len(inflictor.faults) + (phase.faults or sys.maxsize)
        deck = inflictor.dice.sample(list(phase.kinds), len(phase.kinds))
        due = time.monotonic() + phase.every[0]
        while not feeder.done and len(inflictor.faults) < enough:
            inflictor.tick()
            if time.monotonic() >= due:
                deck = deck or _shuffled(phase.kinds, inflictor.dice)
                if inflictor.inflict(deck.pop()):
                    due = time.monotonic() + inflictor.dice.uniform(*phase.every)
            self._show(phase, feeder.started)
            time.sleep(0.05)

    def _drain(self, phase: Phase) -> None:
        until = time.monotonic() + STUCK_SECONDS
        while self._active() and time.monotonic() < until:
            self._inflictor.tick()
            self._show(phase, 0)
            time.sleep(0.2)

    def _active(self) -> int:
        statement = "SELECT count(*) FROM sagas_sagarun WHERE state IN ('running', 'compensating')"
        return int(self._plant.query(statement)[0][0])

    def _show(self, phase: Phase, fed: int) -> None:
        faults = self._inflictor.faults
        last = KINDS[faults[-1].kind] if faults else "none yet"
        ended = len(self._wishes) + fed - self._active()
        self._progress.show(
            f"{phase.name}: {ended:,} sagas ended, {len(faults)} faults, last: {last}"
        )

    def _judge(self, rate: float) -> Result:
        plant, faults = self._plant, self._inflictor.faults
        states = dict(plant.query("SELECT key, state FROM sagas_sagarun"))
        together = self._options.phases[0].name
        return Result(
            options=self._options,
            verdict=judge_all(self._wishes, states, books.read(plant.ledger.log)),
            recoveries=recovery.measure(plant, [f for f in faults if f.phase == together]),
            alone=recovery.measure(plant, [f for f in faults if f.phase != together]),
            faults=sum(fault.phase == together for fault in faults),
            rate=rate,
            started_again=self._started_again,
            longest=longest(plant),
            rows=dict(plant.query("SELECT type, count(*) FROM sagas_sagaevent GROUP BY type")),
            parts=soak_report.parts(plant),
        )


def _wish(number: int) -> Wish:
    long = number % LONG_EVERY == 3  # noqa: PLR2004 neither a failing one nor one that stumbles
    return wish(number, hold_ms=LONG_HOLD_MS if long else HOLD_MS)


def _shuffled(kinds: Sequence[str], dice: random.Random) -> list[str]:
    counts = [DECK[kind] for kind in kinds]
    return dice.sample(list(kinds), sum(counts), counts=counts)


def _phases(given: argparse.Namespace) -> list[Phase]:
    """All kinds together, then each that is asked for on its own."""
    low, high = given.every
    together = Phase(
        name="all together",
        kinds=list(KINDS),
        every=(low, high),
        at_a_time=given.at_a_time,
        sagas=given.sagas,
    )
    alone = [
        Phase(
            name=f"{kind} alone",
            kinds=[kind],
            every=(5.0, 6.0),
            at_a_time=8,
            sagas=100_000,
            faults=given.alone_faults,
        )
        for kind in given.alone
    ]
    return [together, *alone]


def _options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sagas", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--every", type=float, nargs=2, default=(1.0, 2.0), metavar="SECONDS")
    parser.add_argument("--at-a-time", type=int, default=300, help="sagas under way")
    parser.add_argument("--alone", nargs="*", choices=KINDS, default=ALONE)
    parser.add_argument("--alone-faults", type=int, default=10, help="of each kind on its own")
    parser.add_argument("--report", type=Path, help="the page to write a section of")
    given = parser.parse_args(arguments)
    return Options(seed=given.seed, phases=_phases(given), report=given.report)


def main() -> int:
    # Whoever ends the run early ends the servers and workers it started as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = _options(sys.argv[1:])
    wrong = True
    with running_plant(keep=lambda: wrong) as plant:
        print(f"{options.phases[0].sagas:,} sagas, seed {options.seed}", flush=True)
        result = Soak(plant, options).run()
        wrong = bool(result.verdict.findings)
    print(soak_report.text(result))
    for finding in result.verdict.findings[:20]:
        print(finding)
    if options.report is not None:
        soak_report.write(result)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
