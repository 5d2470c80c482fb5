"""A saga's deadline passed: it turns back, unless only best-effort steps are left.

Nobody wants a payment undone because of a mail that was not confirmed in time. So a saga all of
whose critical steps are done completes at its deadline, with a warning about the rest.
"""

from sagas.engine import compensate, transitions
from sagas.exceptions import ExecutionTimeout
from sagas.models import StepRun
from sagas.states import DONE, EventType, SagaState, StepState


def end(change: transitions.RunChange, error: ExecutionTimeout) -> None:
    """End a running saga that is out of time."""
    critical = StepRun.objects.forward().present().filter(run_id=change.run.pk, critical=True)
    if critical.exclude(state__in=DONE).exists():
        compensate.turn_back(
            change, outcome_when_undone=SagaState.COMPENSATED, code=error.code, error=str(error)
        )
    else:
        _complete_without_the_rest(change, error)


def _complete_without_the_rest(change: transitions.RunChange, error: ExecutionTimeout) -> None:
    for step in StepRun.objects.forward().filter(run_id=change.run.pk, state=StepState.WAITING):
        compensate.turn_back_child(step, code=error.code, error=f"its parent: {error}")
    left = transitions.leave_unfinished(change, note=str(error))
    note = f"without {', '.join(left)}, because {error}"
    transitions.restart_count(change, 0)
    transitions.move_run(change, SagaState.COMPLETED, EventType.COMPLETED, note=note)
    transitions.set_warning(change)
