"""Hundreds of simulated lives of the real engine, and what holds in each of them (R119).

``pytest --hypothesis-seed=N`` repeats a run; a failure is shrunk to the few faults that matter.
"""

from itertools import count
from unittest.mock import patch

import pytest
from django.db import IntegrityError
from hypothesis import HealthCheck, Phase, event, given, note, settings

from sagas.models import SagaRun
from sagas.states import StepState
from tests.faults.simulation.laws import check
from tests.faults.simulation.life import Life, is_dead_letter
from tests.faults.simulation.scenario import SCENARIOS, Scenario


pytestmark = pytest.mark.django_db(transaction=True)

FEW = settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
MANY = settings(FEW, max_examples=10_000)
UNTIL_ONE_FAILS = settings(FEW, max_examples=1_000, phases=[Phase.generate])

_keys = count()


def live(scenario: Scenario) -> None:
    life = Life(scenario, key=str(next(_keys)))
    try:
        run = life.play()
        event(f"{scenario.saga} came to rest {run.state}")
        event(f"doubled by key: {life.world.doubled}")
        check(life, run)
        if is_dead_letter(run) and run.retry_count < 9:
            life.retry()
            run = life.fresh()
            note(run.explain())
            assert run.is_final
            event(f"{scenario.saga} ended {run.state} after a retry")
            check(life, run)
    finally:
        SagaRun.objects.all().delete()


@pytest.mark.timeout(600)
@FEW
@given(SCENARIOS)
def test_every_life_ends_as_promised(scenario: Scenario) -> None:
    live(scenario)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@MANY
@given(SCENARIOS)
def test_ten_thousand_lives_end_as_promised(scenario: Scenario) -> None:
    live(scenario)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("part", "broken"),
    [
        pytest.param("sagas.late.take_up", lambda *_: None, marks=pytest.mark.slow),
        ("sagas.transitions.RunChange.has_in_flight", lambda _: False),
        ("sagas.compensate.MAY_HAVE_HAPPENED", frozenset({StepState.SUCCEEDED})),
    ],
    ids=["late successes ignored", "not waiting for what is in flight", "unknown not undone"],
)
def test_an_engine_without_a_part_is_found_out(part: str, broken: object) -> None:
    with patch(part, broken), pytest.raises((AssertionError, IntegrityError)):
        UNTIL_ONE_FAILS(given(SCENARIOS)(live))()
