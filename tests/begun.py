"""Runs of which some steps are done."""

from sagas import start_saga
from sagas.models import SagaRun
from tests.driving import fresh, run_one
from tests.traced import Diamond, Five, Script


def five(done: int = 5, **faults: str) -> SagaRun:
    """Return a run of ``Five`` after so many steps."""
    run = start_saga(Five, Script(faults), key="five")
    for _ in range(done):
        run_one(run)
    return fresh(run)


def diamond(*done: str, **faults: str) -> SagaRun:
    """Return a run of ``Diamond`` after these steps, in this order."""
    run = start_saga(Diamond, Script(faults), key="diamond")
    for name in done:
        run_one(run, name)
    return fresh(run)
