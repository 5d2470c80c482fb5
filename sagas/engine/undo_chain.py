"""The compensations of a run: one chain, in reverse order, made when it turns back.

It is made anew, of what is not undone, when a late word tells of something more to undo and when a
dead letter goes on: so what depends on a step is undone before it, however often.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise

from sagas.engine import transitions
from sagas.models import StepRun
from sagas.states import ENDED_STEPS, IN_FLIGHT_STEPS, Direction, StepState


FENCES_OF_A_LIFE = 1000
"""How many attempts to undo a step are told apart from those of its next life."""


def weave(
    change: transitions.RunChange,
    wanted: Sequence[StepRun],
    *,
    again: str = "",
    anew: bool = False,
) -> None:
    """Have the forward steps ``wanted`` undone in this order.

    ``again`` names a step whose undoing, if it has begun, came too early. ``anew``: the run is a dead
    letter that goes on, so that what failed is tried once more, with its attempts before it.
    """
    backward = StepRun.objects.backward().filter(run_id=change.run.pk)
    # Locked, because a claim does not take the run's lock: what is claimed right now is in flight.
    undo = {row.name: row for row in backward.select_for_update()}
    if not undo:
        chain = planned(wanted, in_place=change.run.plan.in_place)
        transitions.insert_undo_chain(change, chain)
        return
    in_flight = [row for row in undo.values() if row.state in IN_FLIGHT_STEPS and row.name != again]
    fences = _first_fences(undo.values())
    rows = [
        undo.get(step.name)
        or transitions.insert_pending(
            undo_row(step, position=place, fence=fences.get(step.name, 0))
        )
        for place, step in enumerate(wanted, start=len(undo))
    ]
    chain = [row for row in rows if row not in in_flight]
    for row in undo.values():
        if row not in rows and row not in in_flight and row.state not in ENDED_STEPS:
            transitions.leave_out(change, row)
    _place(change, chain, in_flight, again=again, anew=anew)
    transitions.restart_count(change, 1 if chain else len(in_flight))


def _place(
    change: transitions.RunChange,
    chain: Sequence[StepRun],
    in_flight: Sequence[StepRun],
    *,
    again: str,
    anew: bool,
) -> None:
    # What is in flight was undone later than what the chain begins with, so the chain waits for it.
    head = [str(step.pk) for step in chain[:1]]
    for step in in_flight:
        transitions.reset(
            change,
            step,
            StepState(step.state),
            pending_predecessors=0,
            successors=head,
            in_place=False,
        )
    following = [[str(step.pk)] for step in chain[1:]] + [[]]
    for place, step in enumerate(chain):
        pending_predecessors = 1 if place else len(in_flight)
        was_ready = step.state == StepState.READY
        begins_anew = anew or step.name == again
        transitions.reset(
            change,
            step,
            StepState.PENDING if pending_predecessors else StepState.READY,
            pending_predecessors=pending_predecessors,
            anew=begins_anew,
            position=place,
            successors=following[place],
            in_place=False,
        )
        if not pending_predecessors and (begins_anew or not was_ready):
            change.made_ready.append(step)


def planned(steps: Sequence[StepRun], *, in_place: bool) -> list[StepRun]:
    """Return the compensation rows, not inserted yet: one chain, in this order."""
    chain = [undo_row(step, position=position) for position, step in enumerate(steps)]
    for step, following in pairwise(chain):
        step.successors = [str(following.pk)]
        following.pending_predecessors = 1
        step.in_place = in_place and step.plan.may_carry_on_to(following.plan)
    return chain


def _first_fences(undo: Iterable[StepRun]) -> dict[str, int]:
    """Return where the fences begin of compensations that had earlier lives.

    A request is named by a fence, so no two lives may have one in common; and an earlier life may be
    undone once more, beside the present one.
    """
    first: dict[str, int] = {}
    for row in undo:
        if row.is_past:
            begins = (row.fence // FENCES_OF_A_LIFE + 1) * FENCES_OF_A_LIFE
            first[row.present_name] = max(begins, first.get(row.present_name, 0))
    return first


def undo_row(step: StepRun, *, position: int, fence: int = 0) -> StepRun:
    """Return the compensation of a forward step, not inserted yet."""
    seconds = step.plan.compensation_timeout
    return StepRun(
        run_id=step.run_id,
        name=step.name,
        direction=Direction.BACKWARD,
        position=position,
        handler=step.compensation,
        options=step.plan.compensation or {},
        fence=fence,
        timeout=None if seconds is None else timedelta(seconds=seconds),
        idempotency_key=f"{step.idempotency_key}:undo",
    )
