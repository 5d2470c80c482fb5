"""``cancel`` and ``compensate``: what ran is undone."""

from sagas.engine import compensate, dispatch, transitions
from sagas.models import SagaRun
from sagas.operations.allowed import is_held, is_undoing, may_be_past_pivot, refuse, steps_of
from sagas.operations.locking import locked
from sagas.payloads import truncate_error
from sagas.states import SagaState


def cancel_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Turn a running saga back; it ends ``cancelled`` when everything is undone.

    Raises:
        ActionNotAllowed: it does not run, or its point of no return may have been passed.
    """
    return _turn_back(
        run,
        "cancel",
        (SagaState.RUNNING,),
        outcome_when_undone=SagaState.CANCELLED,
        code="CANCELLED",
        reason=reason,
        actor=actor,
    )


def compensate_saga(
    run: SagaRun, *, reason: str, actor: str = "", revert_completed: bool = False
) -> SagaRun:
    """Turn a saga back as a failure would; it ends ``compensated``.

    A dead letter that has not begun to undo is turned back too, and with ``revert_completed`` a
    completed saga, and nothing else: what someone relies on is not reverted by accident. A step that
    holds because nobody knows whether it happened (``on_unknown="hold"``) is undone then: you decided.

    Raises:
        ActionNotAllowed: its state is another, or its point of no return may have been passed.
    """
    states = (SagaState.RUNNING, SagaState.DEAD_LETTER)
    return _turn_back(
        run,
        "revert" if revert_completed else "compensate",
        (SagaState.COMPLETED,) if revert_completed else states,
        outcome_when_undone=SagaState.COMPENSATED,
        code="REVERTED" if revert_completed else "COMPENSATED_BY_HAND",
        reason=reason,
        actor=actor,
    )


def _turn_back(
    run: SagaRun,
    action: str,
    states: tuple[SagaState, ...],
    *,
    outcome_when_undone: SagaState,
    code: str,
    reason: str,
    actor: str,
) -> SagaRun:
    with locked(run, action) as change:
        if change.run.state not in states:
            refuse(change.run, action, f"it is not {' or '.join(states)}")
        steps = steps_of(change.run)
        anew = is_held(change.run, steps)
        if anew:
            outcome_when_undone = SagaState(change.run.outcome_when_undone)
        elif is_undoing(steps):
            refuse(change.run, action, "it has begun to undo")
        if may_be_past_pivot(change.run, steps):
            refuse(change.run, action, "it is past its point of no return, or may be")
        transitions.release_holds(change)
        compensate.turn_back(
            change,
            outcome_when_undone=outcome_when_undone,
            code=code,
            error=truncate_error(reason),
            actor=actor,
            anew=anew,
        )
        dispatch.send_on_commit(change.run, change.made_ready)
    return SagaRun.objects.get(pk=run.pk)
