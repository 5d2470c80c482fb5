"""The model does what the code does: random walks through it, repeated on real rows (R119)."""

from dataclasses import replace
from random import Random

import pytest

from tests.faults.model.actions import Action, after, possible
from tests.faults.model.mended_plans import SMALL
from tests.faults.model.plans import NAMED
from tests.faults.model.replay import Replay, of_model
from tests.faults.model.state import Plan, State


pytestmark = [pytest.mark.django_db, pytest.mark.timeout(3600)]

FEW = 1
MANY = 30
STEPS = 60
RARELY = {
    "lose",
    "deliver again",
    "deadline",
    "cancel",
    "crash",
    "stall",
    "see the wait run out",
    "put back",
    "skip",
    "skip with a result",
}


def choose(random: Random, plan: Plan, state: State) -> Action | None:
    actions = list(possible(plan, state))
    weights = [1 if action.name in RARELY else 4 for action in actions]
    return random.choices(actions, weights)[0] if actions else None


@pytest.mark.parametrize("plan", [*SMALL, *NAMED], ids=lambda plan: plan.name)
@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(FEW), id="few"),
        pytest.param(range(FEW, MANY), id="many", marks=pytest.mark.slow),
    ],
)
def test_the_rows_follow_the_model(plan: Plan, seeds: range) -> None:
    for seed in seeds:
        walk(replace(plan, asks_left_out=0, workers=3), seed)


def walk(plan: Plan, seed: int) -> None:
    random = Random(f"{plan.name} {seed}")  # noqa: S311
    state, real = plan.first(), Replay(plan, key=str(seed))
    done: list[Action] = []
    for _ in range(STEPS):
        action = choose(random, plan, state)
        if action is None:
            return
        done.append(action)
        state = after(plan, state, action)
        real.do(action)
        trace = "\n".join(str(action) for action in done)
        assert real.state() == of_model(state), f"seed {seed}:\n{trace}"
