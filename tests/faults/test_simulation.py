"""Simulated lives of the real engine: what the run says is compared with what stands in the world (R119).

``python -m tests.faults.simulation 7`` replays the life of seed 7 and shrinks it if it breaks a law.
``SAGAS_LIVES=1000`` plays fewer in the slow test.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from hypothesis import HealthCheck, event, given, settings

from tests.conftest import database_url
from tests.faults.simulation.fuzz import breaks
from tests.faults.simulation.mutants import MUTANTS, SEEDS, life, without
from tests.faults.simulation.scenario import FAMILIES, SCENARIOS, TRACES, Scenario
from tests.faults.simulation.stage import stage


pytestmark = pytest.mark.django_db(transaction=True)

FEW = settings(max_examples=20, suppress_health_check=list(HealthCheck), database=None)
IN_MEMORY = "sqlite:///:memory:"
LIVES = int(os.environ.get("SAGAS_LIVES", "100000"))

SOON = {mutant: seed for mutant, seed in SEEDS.items() if seed < 10_000}
"""The others are found by the model in a second, and by random lives in an hour or more."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads the log of hundreds of lives, and writing it takes a quarter of the time."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600)
@FEW
@given(SCENARIOS)
def test_every_life_ends_as_promised(made_up: Scenario) -> None:
    with stage() as here:
        event(f"{made_up.saga}: {' '.join(here.live(made_up))}")


@pytest.mark.timeout(600)
@FEW
@given(TRACES)
def test_every_trace_ends_as_promised(made_up: Scenario) -> None:
    with stage() as here:
        event(" ".join(here.live(made_up)))


@pytest.mark.timeout(600)
@FEW
@given(FAMILIES)
def test_every_family_ends_as_promised(made_up: Scenario) -> None:
    with stage() as here:
        event(" ".join(here.live(made_up)))


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_a_hundred_thousand_lives_end_as_promised() -> None:
    """Half of them in memory, half on the database under test, side by side."""
    middle = LIVES // 2
    with another_database() as url:
        players = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.simulation", seeds],
                env={**os.environ, "DATABASE_URL": where, "SAGAS_BROKER_URL": "memory://"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for seeds, where in ((f"0:{middle}", IN_MEMORY), (f"{middle}:{LIVES}", url))
        ]
        told = [player.communicate()[0] for player in players]
    assert [player.returncode for player in players] == [0, 0], "\n".join(told)


@pytest.mark.parametrize(("mutant", "seed"), SEEDS.items())
def test_a_life_is_known_that_finds_each_missing_part_of_the_engine(mutant: str, seed: int) -> None:
    with stage() as here:
        made_up = life(mutant, seed)
        assert not breaks(here, made_up)
        with without(mutant):
            assert breaks(here, made_up)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("mutant", "known"), SOON.items())
def test_random_lives_find_each_missing_part_of_the_engine(
    mutant: str, known: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody tells the simulation where to look."""
    with stage() as here, without(mutant):
        lives = (seed for seed in range(known + 1) if breaks(here, life(mutant, seed)))
        seed = next(lives, None)
    with capsys.disabled():
        sys.stdout.write(f"\n{mutant}, {MUTANTS[mutant][0]}: found by life {seed}")
    assert seed is not None


@contextmanager
def another_database() -> Iterator[str]:
    """Return where another process can play alone; on SQLite everybody has their own in memory."""
    if connection.vendor == "sqlite":
        yield IN_MEMORY
        return
    name = f"{connection.settings_dict['NAME']}_lives"
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
        cursor.execute(f'CREATE DATABASE "{name}"')
    yield urlunsplit(urlsplit(database_url())._replace(path=f"/{name}"))
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{name}"')
