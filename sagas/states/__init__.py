"""Where sagas and steps may stand, how they get there, and the types of the events that tell of it."""

from sagas.states.events import EventType
from sagas.states.lifecycle import (
    ACTIVE_SAGAS,
    DONE,
    FINAL_SAGAS,
    IN_FLIGHT_STEPS,
    MAY_HAVE_HAPPENED,
    SAGA_ARROWS,
    STEP_ARROWS,
    UNSTARTED_STEPS,
    Direction,
    SagaState,
    StepState,
    require_arrow,
)


__all__ = [
    "ACTIVE_SAGAS",
    "DONE",
    "FINAL_SAGAS",
    "IN_FLIGHT_STEPS",
    "MAY_HAVE_HAPPENED",
    "SAGA_ARROWS",
    "STEP_ARROWS",
    "UNSTARTED_STEPS",
    "Direction",
    "EventType",
    "SagaState",
    "StepState",
    "require_arrow",
]
