"""Whether a run goes in the direction of one of its steps, as a condition of an update of the step."""

from typing import Any

from django.db.models import Exists, OuterRef, Q

from sagas.models import SagaRun
from sagas.states import Direction, SagaState


def goes_its_way(*also: SagaState, **conditions: Any) -> Q:
    """Return the condition that the run goes in the step's direction, or is in one of these states.

    A forward step goes on in a running saga; an attempt that reconciles while the saga turns back as
    well, and one that is tried again by hand after its saga completed. ``conditions`` are further
    ones of the run. :data:`sagas.models.steps.GOES_ITS_WAY` is the same for a query that joins.
    """

    def run_is(*states: SagaState) -> Q:
        return _run_is(state__in=states, **conditions)

    forward = Q(direction=Direction.FORWARD)
    return (
        (Q(direction=Direction.BACKWARD) & run_is(SagaState.COMPENSATING, *also))
        | (forward & run_is(SagaState.RUNNING, *also))
        | (forward & Q(reconcile_attempts__isnull=False) & run_is(SagaState.COMPENSATING))
        | (forward & Q(detached=True) & run_is(SagaState.COMPLETED))
    )


def stands_beside_rewind() -> Q:
    """Return the condition that the run rewinds, and that the step is not among what it undoes."""
    rewinds = _run_is(state=SagaState.COMPENSATING, outcome_when_undone=SagaState.RUNNING)
    return Q(direction=Direction.FORWARD, rewind__isnull=True) & rewinds


def _run_is(**conditions: Any) -> Q:
    return Q(Exists(SagaRun.objects.filter(**conditions, pk=OuterRef("run_id"))))
