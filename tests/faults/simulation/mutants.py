"""The engine without one of its parts, which the simulation has to find out by itself.

Each takes out what keeps one kind of false word from being said. The names are those of the parts.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from django.db.models import Exists, F, OuterRef, Q

from sagas.engine import dead_letter, late_success, transitions, undo_chain
from sagas.engine.decisions import Succeeded
from sagas.engine.failures import failed
from sagas.engine.transitions import lives
from sagas.engine.transitions.insert import fresh_life
from sagas.exceptions import SagaError
from sagas.models import SagaRun, StepRun
from sagas.operations import steps
from sagas.states import FORWARD_SAGAS, EventType, SagaState, StepState
from tests.faults.simulation.scenario import Scenario, family_scenario, scenario


Patches = Mapping[str, Any]


def _later_successes_of_open_ends_only() -> Patches:
    take_up = late_success.undo_late_success

    def of_open_ends(change: Any, step: StepRun, output: object) -> None:
        if step.state not in {StepState.SKIPPED, StepState.CANCELLED}:
            take_up(change, step, output)

    return {"sagas.engine.late_success.undo_late_success": of_open_ends}


def _no_last_look() -> Patches:
    leave_dead_letter = steps._leave_dead_letter

    def finish(change: Any) -> None:
        undo = StepRun.objects.backward().filter(run_id=change.run.pk)
        if undo.filter(state__in=(StepState.FAILED, StepState.UNKNOWN)).exists():
            dead_letter.dead_letter(change, note=change.run.compensation_error, step="")
        else:
            transitions.move_run(
                change,
                SagaState(change.run.outcome_when_undone),
                EventType(change.run.outcome_when_undone),
            )

    def leave(change: Any, step: StepRun, to: StepState, *, note: str, actor: str) -> None:
        undo = StepRun.objects.backward().filter(run_id=change.run.pk)
        if step.is_backward and not undo.exclude(state=StepState.SUCCEEDED).exists():
            transitions.mark_undone(change, step)
            transitions.move_run(
                change, SagaState.COMPENSATING, EventType.RETRIED, note=note, actor=actor
            )
            finish(change)
        else:
            leave_dead_letter(change, step, to, note=note, actor=actor)

    return {
        "sagas.engine.compensate.finish": finish,
        "sagas.operations.steps._leave_dead_letter": leave,
    }


def _skipped_pivots_are_not_passed() -> Patches:
    pass_pivot = transitions.pass_pivot

    def if_it_succeeded(change: Any, pivot: StepRun, state: str = StepState.SUCCEEDED) -> None:
        if state == StepState.SUCCEEDED:
            pass_pivot(change, pivot, state)

    return {
        "sagas.engine.transitions.pass_pivot": if_it_succeeded,
        "sagas.models.StepRun.is_irreversible": property(lambda step: step.pivot),
    }


def _progress_is_inherited() -> Patches:
    def with_progress(step: StepRun) -> dict[str, Any]:
        columns = fresh_life(step)
        return {name: columns[name] for name in columns if not name.startswith("heartbeat")}

    rooms = ("plan", "late", "operator")
    return {f"sagas.engine.transitions.{room}.fresh_life": with_progress for room in rooms}


def _forward_steps_of_any_run_go_on() -> Patches:
    going = (SagaState.RUNNING, SagaState.COMPENSATING, SagaState.COMPLETED)

    def goes_on(**conditions: Any) -> Q:
        runs = SagaRun.objects.filter(pk=OuterRef("run_id"), state__in=going, **conditions)
        return Q(Exists(runs))

    def postpone(step: StepRun, error: SagaError, **_: Any) -> bool:
        with transitions.change(step.run_id) as change:
            return transitions.put_back(
                change,
                step,
                EventType.STEP_RETRYING,
                delay=10,
                guard=transitions.UNANSWERED,
                attempt=F("attempt") - 1,
            )

    return {
        "sagas.engine.transitions.claiming.goes_its_way": goes_on,
        "sagas.engine.transitions.claiming.postgresql.in_use": lambda: False,
        "sagas.models.steps.GOES_ITS_WAY": Q(run__state__in=going),
        "sagas.engine.compensate.UNSTARTED_STEPS": frozenset(),
        "sagas.engine.advance.postpone": postpone,
    }


def _undone_beside_the_chain() -> Patches:
    weave = undo_chain.weave

    def beside(change: Any, wanted: Any, *, again: str = "", anew: bool = False) -> None:
        undo = StepRun.objects.backward().filter(run_id=change.run.pk, name=again).first()
        if undo is None or undo.state != StepState.SUCCEEDED:
            weave(change, wanted, again=again, anew=anew)
            return
        transitions.reset(change, undo, StepState.READY, pending_predecessors=0, successors=[])
        transitions.restart_count(change, change.run.remaining + 1)
        change.made_ready.append(undo)

    return {"sagas.engine.undo_chain.weave": beside}


def _earlier_lives_say_nothing_to_a_saga_that_goes_forward() -> Patches:
    draw_consequences = late_success._draw_consequences

    def of_the_present(change: Any, step: StepRun) -> None:
        if not (step.is_past and change.run.state in FORWARD_SAGAS):
            draw_consequences(change, step)

    return {
        "sagas.engine.late_success._draw_consequences": of_the_present,
        "sagas.engine.compensate.past_to_undo": lambda _: [],
    }


def _new_lives_have_the_old_keys() -> Patches:
    new_life = lives._new_life

    def with_old_key(run: SagaRun, step: StepRun, *, key: str) -> StepRun:
        row = new_life(run, step, key=key)
        row.idempotency_key = step.idempotency_key
        return row

    return {"sagas.engine.transitions.lives._new_life": with_old_key}


MUTANTS: dict[str, tuple[str, Callable[[], Patches]]] = {
    "A1": ("late doubt is dropped", lambda: {"sagas.engine.late_success.doubt": lambda *_: None}),
    "A2": (
        "a condition is asked at each attempt",
        lambda: {"sagas.engine.transitions.keep_prepared": lambda _: True},
    ),
    "A3": ("late successes of what was skipped are dropped", _later_successes_of_open_ends_only),
    "A4": ("no last look before an end", _no_last_look),
    "A5": ("a pivot that was skipped is not passed", _skipped_pivots_are_not_passed),
    "A6": (
        "the engine's own errors are definite failures",
        lambda: {"sagas.engine.attempt.failed": lambda error, **_: failed(error)},
    ),
    "A7": ("a second life inherits the progress of the first", _progress_is_inherited),
    "A8": ("forward steps begin in a saga that turns back", _forward_steps_of_any_run_go_on),
    "A9": (
        "no is final though an attempt may be alive",
        lambda: {"sagas.engine.advance._may_still_act": lambda *_: False},
    ),
    "A10": ("what is undone again is undone beside the chain", _undone_beside_the_chain),
    "A11": (
        "hold is forgotten when the saga turns back",
        lambda: {"sagas.engine.compensate.held": lambda _: []},
    ),
    "R1": (
        "what an earlier life says late is not undone",
        _earlier_lives_say_nothing_to_a_saga_that_goes_forward,
    ),
    "R2": ("a new life has the key of the old one", _new_lives_have_the_old_keys),
    "R3": (
        "a rewind undoes the one step alone",
        lambda: {"sagas.engine.decisions.dependents": lambda _, first: [first]},
    ),
    "C1": (
        "the sweep tells no parent",
        lambda: {"sagas.engine.recover.tell_parents": lambda _: 0},
    ),
    "C2": (
        "a child that was completed is not undone with its parent",
        lambda: {"sagas.engine.children._standing": lambda _: SagaRun.objects.none()},
    ),
    "C3": (
        "the undoing of a child is not waited for",
        lambda: {"sagas.engine.children.end_of_undoing": lambda _: Succeeded(output=None)},
    ),
}


SEEDS = {
    "A1": 314,
    "A2": 1309,
    "A3": 3653,
    "A4": 52458,
    "A5": 347,
    "A6": 4,
    "A7": 198,
    "A8": 185694,
    "A9": 903,
    "A10": 5048,
    "A11": 391,
    "R1": 2298,
    "R2": 2,
    "R3": 2,
    "C1": 2,
    "C2": 0,
    "C3": 0,
}
"""Of each mutant, a life that breaks a law; with the part in its place it breaks none."""


def life(name: str, seed: int) -> Scenario:
    """Make one up of the kind in which this part is needed; the parts C are those of children."""
    make = family_scenario if name.startswith("C") else scenario
    return make(Random(seed))  # noqa: S311 no secret


@contextmanager
def without(name: str) -> Iterator[None]:
    """Take a part out of the engine."""
    _, patches = MUTANTS[name]
    with ExitStack() as stack:
        for target, replacement in patches().items():
            stack.enter_context(patch(target, replacement))
        yield
