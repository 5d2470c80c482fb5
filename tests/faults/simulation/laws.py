"""What must be true of every life, however it went.

The run has the word; whether it is true, the world says. No law asks a row whether a step happened.
"""

from functools import cache

from sagas.definitions import StepDefinition
from sagas.definitions.graph import ancestors
from sagas.models import SagaRun
from sagas.states import Direction, EventType, SagaState
from tests.faults.simulation.family import OF_THE_CHILD
from tests.faults.simulation.rest import is_left_open, members
from tests.faults.simulation.simulated import FAMILY, SAGAS
from tests.faults.simulation.world import World


ROLLED_BACK = frozenset({SagaState.COMPENSATED, SagaState.CANCELLED})


def check(world: World, saga: str, run: SagaRun) -> None:
    """Compare what the run says with the world, and its rows with its events."""
    assert not world.broken, world.broken
    if run.state == SagaState.COMPLETED:
        completed_means_done(world, saga)
        assert not is_left_open(run), "completed, and a step for which it did not wait is left"
        nothing_stands_twice(world, saga)
    if run.state in ROLLED_BACK:
        rolled_back_means_undone(world, saga, run.state)
    nothing_begins_after_undoing(world, saga)
    for each in members(run):
        the_events_tell_the_states(each)
        counters_are_not_negative(each)


def completed_means_done(world: World, saga: str) -> None:
    """Each critical effect stands that is wanted."""
    for step in SAGAS[saga].definition.steps:
        wanted = step.critical and step.name not in world.unwanted
        assert not wanted or world.stands(step.name), f"completed, and {step.name} is not done"


def nothing_stands_twice(world: World, saga: str) -> None:
    """What a rewind had done anew was undone before."""
    for step in SAGAS[saga].definition.steps:
        assert world.standing(step.name) < 2, f"completed, and {step.name} is done twice"


def rolled_back_means_undone(world: World, saga: str, word: str) -> None:
    """Nothing stands, but for a stray of which nobody told, where the services do not remember.

    That goes for what has no compensation, too: here, that is the point of no return and what
    follows it.
    """
    for step in SAGAS[saga].definition.steps:
        kept = step.compensable_until is not None and world.happened(step.compensable_until)
        assert kept or not world.stands(step.name), f"{word}, and {step.name} stands"


def nothing_begins_after_undoing(world: World, saga: str) -> None:
    """Once undoing began, only attempts that had been given up still act.

    Where a human had a part done anew, that goes for each key: the new lives have fresh ones. A child
    may be undone while its parent does not know, but no child goes on when its parent undoes.
    """
    undone: set[str] = set()
    for call in world.calls:
        about = {call.key if world.rewound else ""}
        if saga == FAMILY and not world.rewound:
            of_child = call.name.removeprefix("undo ") in OF_THE_CHILD
            about = {call.key.partition(":")[0]} if of_child else {"the parent"}
        if call.name.startswith("undo "):
            undone |= about
        else:
            about |= {"the parent"} if saga == FAMILY else set()
            assert not call.awake or not about & undone, call


@cache
def built_on(saga: str, name: str) -> list[str]:
    """Return the steps that need what ``name`` did."""
    before = ancestors({step.name: step.after for step in SAGAS[saga].definition.steps})
    return [step for step, needed in before.items() if name in needed]


def stands_on(world: World, saga: str, name: str) -> list[str]:
    """Return what stands, as the engine must know, and is to be undone before ``name`` is."""
    return [step for step in built_on(saga, name) if world.stands(step)]


def may_not_be_undone_blindly(step: StepDefinition) -> bool:
    """Whether a human has to say it first when nobody knows if it happened."""
    return step.options.on_unknown == "hold"


def the_events_tell_the_states(run: SagaRun) -> None:
    """Replaying the events gives the states of the rows."""
    states = dict(run.steps.values_list("pk", "state"))
    run_state, steps = "", dict.fromkeys(states, "pending")
    for event in run.events.exclude(to_state="").order_by("pk"):
        if event.step_id is None:
            assert event.from_state == run_state
            run_state = event.to_state
        else:
            born = EventType.PUBLISHED  # the row of an event is done from the start
            assert event.type == born or event.from_state == steps[event.step_id], event
            steps[event.step_id] = event.to_state
    assert run_state == run.state
    assert steps == states


def counters_are_not_negative(run: SagaRun) -> None:
    """Neither of the run nor of a step; and there is one compensation of a step at most."""
    assert run.remaining >= 0
    rows = list(run.steps.values_list("name", "direction", "pending_predecessors"))
    assert all(blockers >= 0 for *_, blockers in rows)
    names = [name for name, direction, _ in rows if direction == Direction.BACKWARD]
    assert len(names) == len(set(names))
