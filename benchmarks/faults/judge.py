"""Whether what a saga says of itself agrees with the books of the outside service."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.faults.ledger.books import Books, Entry
from benchmarks.faults.wishes import STEPS, Wish


COMPLETED = "completed"
COMPENSATED = "compensated"
HANDED_OVER = frozenset({"dead_letter", "failed"})
"""It says that it cannot go on and asks for a person."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about one saga that is not as it says."""

    saga: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.saga}: {self.kind}: {self.detail}"


LOST = "not final"
FALSELY_COMPLETED = "said completed, was not"
FALSELY_COMPENSATED = "said compensated, was not"
DISORDER = "undone out of order"
DOUBLED = "an effect happened twice"
KINDS = (LOST, FALSELY_COMPLETED, FALSELY_COMPENSATED, DISORDER, DOUBLED)


def judge(wish: Wish, state: str, entries: list[Entry]) -> list[Finding]:
    """Return what is wrong with one saga; nothing, when it told the truth."""
    problems: list[tuple[str, str]] = []
    effects = Counter(entry.step for entry in entries if entry.op == "do" and entry.applied)
    problems += [(DOUBLED, f"{step}, {n} times") for step, n in effects.items() if n > 1]
    if state == COMPLETED:
        problems += [(FALSELY_COMPLETED, text) for text in _not_completed(wish, entries)]
    elif state == COMPENSATED:
        problems += [(FALSELY_COMPENSATED, f"{step} stayed") for step in effects_left(entries)]
        problems += [(DISORDER, text) for text in _disorder(entries)]
    else:
        problems.append((LOST, f"its state is {state or 'nothing'}"))
    return [Finding(saga=wish.saga, kind=kind, detail=text) for kind, text in problems]


def effects_left(entries: list[Entry]) -> list[str]:
    """Return the steps whose effect happened and was not undone afterwards."""
    undone = {entry.key for entry in entries if entry.op == "undo"}
    return [e.step for e in entries if e.op == "do" and e.applied and e.key not in undone]


def repeats(entries: list[Entry]) -> int:
    """Return how many calls by handlers came on top of the first for their key."""
    calls = Counter((entry.op, entry.key) for entry in entries if entry.op != "say")
    return sum(calls.values()) - len(calls)


def _not_completed(wish: Wish, entries: list[Entry]) -> list[str]:
    done = [entry.step for entry in entries if entry.op == "do" and entry.applied]
    undone = [entry.step for entry in entries if entry.op == "undo"]
    problems = [f"{step} never happened" for step in STEPS if step not in done]
    problems += [f"{step} was undone" for step in undone]
    if not problems and tuple(dict.fromkeys(done)) != STEPS:
        problems.append(f"the order was {', '.join(done)}")
    if wish.must_fail:
        problems.append(f"{wish.at} cannot succeed: {wish.how}")
    return problems


def _disorder(entries: list[Entry]) -> list[str]:
    done = [entry.key for entry in entries if entry.op == "do" and entry.applied]
    undone = [entry.key for entry in entries if entry.op == "undo" and entry.applied]
    if undone == [key for key in reversed(done) if key in undone]:
        return []
    return [f"done {done}, undone {undone}"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of all sagas of a run."""

    sagas: int
    states: Mapping[str, int]
    findings: list[Finding]
    without_cause: int
    """Rolled back although nothing failed but machines."""
    effects: int
    left: int
    """Effects of sagas that did not complete, not undone."""
    repeats: int
    """Calls for a key beyond its first: a handler ran again. None of them had an effect."""

    def count(self, kind: str) -> int:
        """Return the number of sagas with a finding of this kind."""
        return len({finding.saga for finding in self.findings if finding.kind == kind})

    @property
    def truthful(self) -> int:
        """Sagas that ended, and as they say."""
        return self.sagas - len({finding.saga for finding in self.findings})

    @property
    def handed_over(self) -> int:
        """Sagas that ask for a person."""
        return sum(self.states.get(state, 0) for state in HANDED_OVER)

    @property
    def stuck(self) -> int:
        """Sagas that neither end nor ask for a person."""
        return self.count(LOST) - self.handed_over


def judge_all(wishes: list[Wish], states: Mapping[str, str], books: Books) -> Verdict:
    """Return the verdict on a run."""
    findings: list[Finding] = []
    without_cause = left = effects = again = 0
    for wish in wishes:
        state, entries = states.get(wish.saga, ""), books.get(wish.saga, [])
        findings += judge(wish, state, entries)
        without_cause += state == COMPENSATED and not wish.must_fail
        effects += sum(entry.op == "do" and entry.applied for entry in entries)
        left += 0 if state == COMPLETED else len(effects_left(entries))
        again += repeats(entries)
    return Verdict(
        sagas=len(wishes),
        states=Counter(states.get(wish.saga, "") for wish in wishes),
        findings=findings,
        without_cause=without_cause,
        effects=effects,
        left=left,
        repeats=again,
    )
