"""Simulated lives of the real engine, and what holds in each of them (R119).

``pytest --hypothesis-seed=N`` repeats a run; a failure is shrunk to the few faults that matter.
``SAGAS_LIVES=10000`` plays so many in the slow test; a thousand take one to two minutes.
"""

import logging
import os
from collections.abc import Iterator
from itertools import count
from unittest.mock import patch

import pytest
from django.db import IntegrityError
from hypothesis import HealthCheck, Phase, event, given, note, seed, settings

from sagas.models import SagaRun
from sagas.states import StepState
from tests.faults.simulation.laws import check
from tests.faults.simulation.life import Life, is_dead_letter
from tests.faults.simulation.scenario import SCENARIOS, Scenario


pytestmark = pytest.mark.django_db(transaction=True)

FEW = settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
MANY = settings(FEW, max_examples=int(os.environ.get("SAGAS_LIVES", "1000")))
UNTIL_ONE_FAILS = settings(FEW, max_examples=1_000, phases=[Phase.generate])

_keys = count()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads the log of hundreds of lives, and writing it takes a quarter of the time."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


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
def test_a_thousand_lives_end_as_promised(scenario: Scenario) -> None:
    live(scenario)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("part", "broken", "found_soon_by"),
    [
        pytest.param("sagas.late.take_up", lambda *_: None, 7, marks=pytest.mark.slow),
        ("sagas.transitions.RunChange.has_in_flight", lambda _: False, 2),
        ("sagas.operations.waiting._may_have_happened", lambda _: False, 2),
        ("sagas.compensate.MAY_HAVE_HAPPENED", frozenset({StepState.SUCCEEDED}), 2),
    ],
    ids=[
        "late successes ignored",
        "not waiting for what is in flight",
        "late answers refused",
        "unknown not undone",
    ],
)
def test_an_engine_without_a_part_is_found_out(
    part: str, broken: object, found_soon_by: int
) -> None:
    until_one_fails = seed(found_soon_by)(UNTIL_ONE_FAILS(given(SCENARIOS)(live)))
    with patch(part, broken), pytest.raises((AssertionError, IntegrityError)):
        until_one_fails()
