"""Not collected: a run that ``test_interrupted_runs.py`` starts by this name, and ends before it is over."""

import os
import time
from pathlib import Path

import pytest

from tests.conftest import WorkerFactory


pytestmark = [pytest.mark.acceptance, pytest.mark.redis]


def test_that_holds_a_database_a_broker_and_a_worker(
    worker_factory: WorkerFactory, redis_broker: str
) -> None:
    worker_factory(redis_broker)
    Path(os.environ["HELD_RUN_IS_READY"]).touch()
    time.sleep(120)
