"""``cancel``, ``compensate`` and ``revert``: what ran is undone."""

from collections.abc import Sequence
from functools import partial

from sagas.engine import compensate, decisions, transitions
from sagas.models import SagaRun, StepRun
from sagas.operations.operating import operating, reloaded
from sagas.operations.predicates import Steps, is_held, is_undoing
from sagas.operations.verbs import RunVerb, entered
from sagas.payloads import truncate_error
from sagas.states import COMPENSABLE_SAGAS, SagaState


def cancel_saga(run: SagaRun, *, reason: str, actor: str = "") -> SagaRun:
    """Turn a running saga back; it ends ``cancelled`` when everything is undone.

    So is one that rewinds: it does not go forward again.

    Raises:
        ActionNotAllowed: it does not run, or its point of no return may have been passed.
    """
    return _turn_back(
        run,
        CANCEL,
        outcome_when_undone=SagaState.CANCELLED,
        code="CANCELLED",
        reason=reason,
        actor=actor,
    )


def compensate_saga(
    run: SagaRun, *, reason: str, actor: str = "", revert_completed: bool = False
) -> SagaRun:
    """Turn a saga back as a failure would; it ends ``compensated``.

    A dead letter that has not begun to undo is turned back too, one that rewinds as well, and with ``revert_completed`` a
    completed saga, and nothing else: what someone relies on is not reverted by accident. A step that
    holds because nobody knows whether it happened (``on_unknown="hold"``) is undone then: you decided.

    Raises:
        ActionNotAllowed: its state is another, or its point of no return may have been passed.
    """
    return _turn_back(
        run,
        REVERT if revert_completed else COMPENSATE,
        outcome_when_undone=SagaState.COMPENSATED,
        code="REVERTED" if revert_completed else "COMPENSATED_BY_HAND",
        reason=reason,
        actor=actor,
    )


def _refusal(run: SagaRun, steps: Steps, *, states: Sequence[SagaState]) -> str | None:
    gives_up_rewind = run.is_rewinding and SagaState.RUNNING in states
    if run.state not in states and not (gives_up_rewind and run.state == SagaState.COMPENSATING):
        return f"it is not {' or '.join(states)}"
    if is_undoing(steps) and not (gives_up_rewind or is_held(run, steps)):
        return "it has begun to undo"
    if decisions.may_be_past_pivot(run, steps, begun_counts=True):
        return "it is past its point of no return, or may be"
    return None


CANCEL = entered(
    RunVerb(
        name="cancel",
        help="undo what ran, because it is no longer wanted",
        permission="sagas.cancel_sagarun",
        operation=cancel_saga,
        refusal=partial(_refusal, states=[SagaState.RUNNING]),
        undoes=True,
    )
)
COMPENSATE = entered(
    RunVerb(
        name="compensate",
        help="undo what ran, because the goal cannot be reached",
        permission="sagas.compensate_sagarun",
        operation=compensate_saga,
        refusal=partial(_refusal, states=sorted(COMPENSABLE_SAGAS)),
        undoes=True,
    )
)
REVERT = entered(
    RunVerb(
        name="revert",
        help="undo a completed saga, because it is no longer wanted",
        permission="sagas.revert_sagarun",
        operation=partial(compensate_saga, revert_completed=True),
        refusal=partial(_refusal, states=[SagaState.COMPLETED]),
        undoes=True,
    )
)


def _turn_back(
    run: SagaRun,
    verb: RunVerb,
    *,
    outcome_when_undone: SagaState,
    code: str,
    reason: str,
    actor: str,
) -> SagaRun:
    with operating(run, verb) as change:
        steps = list(StepRun.objects.filter(run_id=run.pk))
        anew = is_held(change.run, steps)
        if change.run.is_rewinding:
            anew = change.run.state == SagaState.DEAD_LETTER
            transitions.give_up_rewind(change)
        elif anew:
            outcome_when_undone = SagaState(change.run.outcome_when_undone)
        transitions.release_holds(compensate.held(steps))
        compensate.turn_back(
            change,
            outcome_when_undone=outcome_when_undone,
            code=code,
            error=truncate_error(reason),
            actor=actor,
            anew=anew,
        )
    return reloaded(run)
