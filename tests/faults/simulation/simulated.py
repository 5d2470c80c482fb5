"""Whatever is simulated, by name: sagas, which lives are made up of, and a trace."""

from typing import Any

from sagas import publish, start_saga
from sagas.models import SagaRun
from tests.faults.simulation import sagas
from tests.faults.simulation.events import Trace


TRACE = "Trace"

SAGAS: dict[str, Any] = {**sagas.SAGAS, TRACE: Trace}


def begin(name: str, key: str) -> SagaRun:
    """Start it."""
    if name == TRACE:
        return publish("SimulatedBegan", 1, key=key)
    return start_saga(sagas.SAGAS[name], sagas.Nothing(), key=key)
