"""The protocol, searched to its last state; and each of its guards, taken out (R119)."""

import sys

import pytest

from tests.faults.mended import UNTRUE_ENDS
from tests.faults.model.explore import Search, explore
from tests.faults.model.mended import BY_KIND
from tests.faults.model.mended_plans import HELD, SMALL
from tests.faults.model.mutants import MUTANTS, Mutant
from tests.faults.model.plans import FAST, THOROUGH
from tests.faults.model.state import Plan


def marks(*, slow: bool) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.slow,) if slow else ()


CHECKED = [
    pytest.param(p, id=p.name, marks=marks(slow=p not in {*FAST, *SMALL} or p is HELD))
    for p in (*SMALL, *THOROUGH)
]
CAUGHT = [pytest.param(m, id=m.guard, marks=marks(slow=m.slow)) for m in MUTANTS]


def told(search: Search, capsys: pytest.CaptureFixture[str]) -> Search:
    with capsys.disabled():
        sys.stdout.write(f"\n{search} ")
    return search


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("plan", CHECKED)
def test_every_promise_of_the_model_holds_in_every_state(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    search = told(explore(plan), capsys)
    assert not search.broken, search


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mutant", CAUGHT)
def test_the_search_finds_a_broken_promise_without_a_guard(mutant: Mutant) -> None:
    search = explore(mutant.mutated)
    assert search.broken == mutant.breaks, search


@pytest.mark.parametrize("kind", UNTRUE_ENDS)
def test_the_search_finds_each_mended_fault_again_without_its_mend(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mutant = BY_KIND[kind]
    search = explore(mutant.mutated)
    assert search.broken == mutant.breaks, search
    with capsys.disabled():
        sys.stdout.write(f"\n{kind} {UNTRUE_ENDS[kind]}: {search.plan.name},")
        sys.stdout.write(f" {len(search.states):,} states, {len(search.trace)} actions ")
