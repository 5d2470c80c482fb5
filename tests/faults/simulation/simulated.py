"""Whatever is simulated, by name: sagas, which lives are made up of, a trace, and a family."""

from typing import Any

from sagas import publish, start_saga
from sagas.models import SagaRun
from tests.faults.simulation import sagas
from tests.faults.simulation.events import Trace
from tests.faults.simulation.family import Family, Gift


TRACE = "Trace"
FAMILY = "Family"

SAGAS: dict[str, Any] = {**sagas.SAGAS, TRACE: Trace, FAMILY: Family}


def begin(name: str, key: str) -> SagaRun:
    """Start it."""
    if name == TRACE:
        return publish("SimulatedBegan", 1, key=key)
    if name == FAMILY:
        return start_saga(Gift, sagas.Nothing(), key=key)
    return start_saga(sagas.SAGAS[name], sagas.Nothing(), key=key)
