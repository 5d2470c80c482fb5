"""The end of a child saga reaches the step that waits for it, in a transaction of its own after the child's.

Whoever ended the child tells its parent; if that process dies in between, ``owes_parent`` stays in the
child's row, and the sweep does. It takes the lock of the parent first, so it cannot be done by the
transaction that ends the child. So it is with a child that was undone and hears late that something of
it stands: then its step may have happened after all, and is undone once more.
"""

import logging
from uuid import UUID

from django.db import Error, transaction

from sagas.engine import advance, children, dispatch, late_success, transitions
from sagas.engine.database import is_in_transaction, saga_database
from sagas.engine.decisions import Outcome
from sagas.models import SagaRun, StepRun
from sagas.states import FINAL_SAGAS, StepState


logger = logging.getLogger("sagas.execute")


def tell_on_commit(child: SagaRun) -> None:
    """Tell the parent of a run that ended, or was reopened, in the current transaction when that has committed."""

    # Django names a failed robust hook by its __qualname__, which a partial has not.
    def tell() -> None:
        tell_soon(child.pk)

    is_news = child.state in FINAL_SAGAS or child.owes_parent
    if child.parent_step_id is not None and is_news:
        transaction.on_commit(tell, using=saga_database(), robust=True)


def tell_soon(child_id: UUID) -> None:
    """Tell the parent now if there is something to tell; if that fails the sweep tries again."""
    try:
        tell_parent(child_id)
    except Error:
        if is_in_transaction():
            raise
        logger.warning(
            "parent not told",
            exc_info=True,
            extra={"action": "parent_not_told", "saga_id": str(child_id)},
        )


def tell_parent(child_id: UUID) -> bool:
    """Bring the end of a child to the step that waits for it; False when nothing is owed."""
    owed = SagaRun.objects.filter(pk=child_id, owes_parent=True)
    parent_id = owed.values_list("parent_step__run_id", flat=True).first()
    if parent_id is None:
        return False
    with transitions.change(parent_id) as parent:
        with transitions.change(child_id) as child:
            if not child.run.owes_parent:
                return False
            transitions.parent_told(child)
        _tell(parent, child.run)
        dispatch.send_on_commit(parent.run, parent.made_ready)
        tell_on_commit(parent.run)
    return True


def _tell(parent: transitions.RunChange, child: SagaRun) -> None:
    row, outcome = _answer(child)
    if row is not None and outcome is not None:
        advance.apply_outcome(parent, row, outcome)
    elif row is None and child.state not in FINAL_SAGAS:
        late_success.doubt(parent, StepRun.objects.get(children=child))


def _answer(child: SagaRun) -> tuple[StepRun | None, Outcome | None]:
    """Return the row of the parent that waits for this child, and what it hears; nothing if none does."""
    step = StepRun.objects.get(children=child)
    rows = StepRun.objects.filter(run_id=step.run_id, name=step.name, state=StepState.WAITING)
    for row in rows:
        if row.is_backward:
            return row, children.end_of_undoing(row)
        if not row.children.filter(pk__gt=child.pk).exists():
            return row, children.end_of(child)
    return None, None
