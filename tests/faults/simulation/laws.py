"""What must be true of every life, however it went."""

from sagas.models import SagaRun
from sagas.states import Direction, SagaState
from tests.faults.simulation.life import Life
from tests.faults.simulation.world import DONE, LATE, NOTHING, UNDONE


ROLLED_BACK = frozenset({SagaState.COMPENSATED, SagaState.CANCELLED})
_TO_JOIN = ("start", "left", "right")
BEFORE = {
    "left": ("start",),
    "right": ("start",),
    "join": _TO_JOIN,
    "approve": (*_TO_JOIN, "join"),
    "sign": (*_TO_JOIN, "join"),
    "close": (*_TO_JOIN, "join", "approve", "sign"),
}


def check(life: Life, run: SagaRun) -> None:
    """Check everything that can be seen from the rows, the events and the world outside."""
    if run.state == SagaState.COMPLETED:
        completed_means_done(life, run)
    if run.state in ROLLED_BACK:
        rolled_back_means_undone(life, run)
    what_came_last_is_undone_first(life)
    no_effect_follows_its_undoing(life)
    the_events_tell_the_states(run)
    counters_are_not_negative(run)


def completed_means_done(life: Life, run: SagaRun) -> None:
    """Each critical effect happened, and none is undone."""
    for step in run.steps.forward():
        effect = life.world.effects.get(step.idempotency_key, NOTHING)
        assert effect in {DONE, LATE} or not step.critical, step
        assert effect != UNDONE, step


def rolled_back_means_undone(life: Life, run: SagaRun) -> None:
    """Nothing stands, but for what nobody told of."""
    for step in run.steps.forward():
        effect = life.world.effects.get(step.idempotency_key, NOTHING)
        assert effect not in {DONE, LATE}, f"{step} is {effect}"


def what_came_last_is_undone_first(life: Life) -> None:
    """No step is undone while one that was built on it stands."""
    standing: set[str] = set()
    failed = set()
    for handler, _key, given_up in life.world.calls:
        name = handler.removeprefix("undo ")
        if handler != name:
            standing.discard(name)
            built_on_it = {step for step, before in BEFORE.items() if name in before}
            if not given_up and life.scenario.saga != "Stubborn":
                assert not built_on_it & standing, f"{handler} while {standing} stand"
        elif given_up:
            failed.add(name)
        elif name in BEFORE or name == "start":
            standing.add(name)


def no_effect_follows_its_undoing(life: Life) -> None:
    """Once undoing began, only attempts that had been given up still act."""
    undoing = False
    for handler, _key, given_up in life.world.calls:
        undoing |= handler.startswith("undo ")
        assert handler.startswith("undo ") or given_up or not undoing, handler


def the_events_tell_the_states(run: SagaRun) -> None:
    """Replaying the events gives the states of the rows."""
    run_state, steps = "", dict.fromkeys(run.steps.values_list("pk", flat=True), "pending")
    for event in run.events.exclude(to_state=""):
        if event.step_id is None:
            assert event.from_state == run_state
            run_state = event.to_state
        else:
            assert event.from_state == steps[event.step_id], event
            steps[event.step_id] = event.to_state
    assert run_state == run.state
    assert steps == dict(run.steps.values_list("pk", "state"))


def counters_are_not_negative(run: SagaRun) -> None:
    """Neither of the run nor of a step; and there is one undo chain at most."""
    assert run.remaining >= 0
    assert all(step.blockers >= 0 for step in run.steps.all())
    names = list(run.steps.filter(direction=Direction.BACKWARD).values_list("name", flat=True))
    assert len(names) == len(set(names))
