"""The one way in which the state of a step is changed under its run's lock.

A move goes along an arrow of :mod:`sagas.states`, finds the row as it was read or does nothing, and
is told by an event. Two changes of a state are not moves, because each is one statement on a row that
it has not read: a claim, and what becomes ready when its last predecessor ends. Both check their arrow.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from django.db.models import Q
from django.db.models.functions import Now

from sagas.engine.transitions.change import RunChange
from sagas.models import StepRun
from sagas.states import ATTEMPTED_STEPS, STEP_ARROWS, EventType, StepState, require_arrow


ANY: Final = Q()
"""Nothing more is asked of the row."""


def move_step(
    change: RunChange,
    step: StepRun,
    to: StepState,
    event: EventType,
    *,
    note: str = "",
    actor: str = "",
    guard: Q = ANY,
    **columns: Any,
) -> bool:
    """Move a step from ``step.state`` to another state; False when its row is no longer as it was read.

    ``guard`` is what must hold of the row besides; ``columns`` are written with the state. A lease
    ends with the state that it is for, and so does reconciling. ``step`` itself stays as it is.

    Raises:
        AssertionError: no arrow leads there, which is a bug of the caller.
    """
    return bool(
        move_steps(change, [step], to, event, note=note, actor=actor, guard=guard, **columns)
    )


def move_steps(
    change: RunChange,
    steps: Sequence[StepRun],
    to: StepState,
    event: EventType,
    *,
    note: str = "",
    actor: str = "",
    guard: Q = ANY,
    **columns: Any,
) -> int:
    """Move steps as :func:`move_step` does, by one statement for each state that they come from.

    Of several, the rows are locked by this transaction, so that all are moved. Returns how many were.
    """
    columns = {"lease_until": None, **columns}
    if to not in ATTEMPTED_STEPS:
        columns["reconcile_attempts"] = None
    moved = 0
    of_state = attrgetter("state")
    for came_from, group in groupby(sorted(steps, key=of_state), key=of_state):
        require_arrow(STEP_ARROWS, StepState(came_from), to)
        rows = list(group)
        there = StepRun.objects.filter(guard, pk__in=[row.pk for row in rows], state=came_from)
        won = there.update(state=to, updated_at=Now(), **columns)
        for row in rows if won else ():
            change.event_log.record_step(event, row, came_from, to, note, actor)
        moved += won
    return moved
