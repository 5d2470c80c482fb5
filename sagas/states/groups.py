"""Groups of states, each by what its states have in common. Nowhere else are states listed."""

from sagas.states.lifecycle import SagaState, StepState


ACTIVE_SAGAS = frozenset({SagaState.RUNNING, SagaState.COMPENSATING})
"""Workers are at it, or will be."""

FINAL_SAGAS = frozenset(
    {SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.CANCELLED, SagaState.RESOLVED}
)
"""Nothing is left to do, for a worker or a human."""

OPEN_SAGAS = ACTIVE_SAGAS | {SagaState.DEAD_LETTER}
"""Somebody has to do something yet: a worker or a human."""

FORWARD_SAGAS = frozenset({SagaState.RUNNING, SagaState.COMPLETED})
"""On the way to the goal or there: a best-effort step may be tried again, and warns of its failure."""

ROLLED_BACK_SAGAS = frozenset({SagaState.COMPENSATED, SagaState.CANCELLED})
"""Everything that ran, or may have run, was undone."""

TURNED_BACK_SAGAS = ROLLED_BACK_SAGAS | {SagaState.COMPENSATING}
"""On the way back, or rolled back: what turns out to have happened after all is undone."""

UNDOING_SAGAS = frozenset({SagaState.COMPENSATING, SagaState.DEAD_LETTER})
"""On the way back, or stopped there; a dead letter may be going forward as well."""

REWINDABLE_SAGAS = frozenset({SagaState.RUNNING, SagaState.DEAD_LETTER, SagaState.COMPLETED})
"""An operator may rewind it, if it is not past its pivot and has not begun to undo."""

CLOSED_SAGAS = ROLLED_BACK_SAGAS | {SagaState.RESOLVED}
"""No operator's verb changes it any more."""

FAILED_SAGAS = frozenset({SagaState.COMPENSATED, SagaState.DEAD_LETTER})
"""It did not reach its goal, and nobody asked for that."""

COMPENSABLE_SAGAS = frozenset({SagaState.RUNNING, SagaState.DEAD_LETTER})
"""An operator may turn it back, if it is not past its pivot."""

UNSTARTED_STEPS = frozenset({StepState.PENDING, StepState.READY})
"""No attempt is under way; there may have been some."""

UNBEGUN_STEPS = frozenset({StepState.PENDING, StepState.CANCELLED})
"""It has no place in its saga yet, or has it no more."""

IN_FLIGHT_STEPS = frozenset({StepState.RUNNING, StepState.WAITING})
"""A worker or an outside party has it."""

IDLE_STEPS = UNSTARTED_STEPS | {StepState.WAITING}
"""It has not ended, and no worker runs it: a saga that stops can end it at once."""

ENDED_STEPS = frozenset(StepState) - UNSTARTED_STEPS - IN_FLIGHT_STEPS
"""Nothing more of it is to run, unless it is tried again or undone."""

OPEN_STEPS = IN_FLIGHT_STEPS | {StepState.READY}
"""Somebody has it, or a worker may claim it when it is due."""

ATTEMPTED_STEPS = frozenset({StepState.READY, StepState.RUNNING})
"""An attempt of it is to come, or under way; it acts or reconciles."""

UNATTEMPTED_STEPS = frozenset(StepState) - ATTEMPTED_STEPS
"""No attempt is to come now or under way, so nothing is being reconciled either."""

SETTLEABLE_STEPS = frozenset({StepState.READY, StepState.WAITING})
"""It has not ended and no worker has it, so a human may say how it ends."""

DONE = frozenset({StepState.SUCCEEDED, StepState.SKIPPED})
"""Its saga goes on from it."""

DONE_OR_UNDONE = DONE | {StepState.COMPENSATED}
"""It went well, whatever was undone since."""

HAPPENED = frozenset({StepState.SUCCEEDED, StepState.COMPENSATED})
"""Where a step with a result had its effect, undone since or not."""

MAY_HAVE_HAPPENED = frozenset({StepState.SUCCEEDED, StepState.UNKNOWN})
"""Its effect may stand, so turning back undoes it."""

UNSUCCESSFUL_STEPS = frozenset({StepState.FAILED, StepState.UNKNOWN})
"""Its attempts are spent, without a success."""
