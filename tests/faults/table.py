"""A crash matrix as text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.cases import CASES, Case
from tests.faults.crashes.blows import Fault
from tests.faults.fleet import Fleet
from tests.faults.matrix import Ending


WIDTH = 17


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The endings of one run on one broker."""

    broker: str
    endings: Mapping[Case, Ending]
    seconds: float
    fleet: Fleet

    def lines(self) -> Iterator[str]:
        """Give a line for each target and boundary, with a column for each fault, and the total."""
        cells = {_key(case): ending for case, ending in self.endings.items()}
        rows = dict.fromkeys((c.target.name, c.boundary) for c in CASES if _key(c) in cells)
        faults = [fault for fault in Fault if any(case.fault == fault for case in self.endings)]
        yield _line("target", "boundary", [str(fault) for fault in faults])
        for target, boundary in rows:
            found = [cells.get((target, boundary, fault)) for fault in faults]
            yield _line(target, boundary, [_cell(ending) for ending in found])
        wrong = sum(bool(ending.violations) for ending in self.endings.values())
        yield (
            f"{len(self.endings)} cases in {self.seconds:.0f} s, {wrong} wrong;"
            f" {self.fleet.restarts} killed workers started again"
        )


def _key(case: Case) -> tuple[str, str, str]:
    return case.target.name, case.boundary, case.fault


def _cell(ending: Ending | None) -> str:
    return f"{ending.outcome} {ending.seconds:.1f} s" if ending else "-"


def _line(target: str, boundary: str, cells: Sequence[str]) -> str:
    columns = [f"{target:16}", f"{boundary:19}", *(f"{cell:{WIDTH}}" for cell in cells)]
    return " ".join(columns).rstrip()
