"""Which verbs a run allows now, and the error that refuses another one."""

from typing import Any

from sagas.conf import MAX_RETRY_COUNT
from sagas.exceptions import ActionNotAllowed, DeadLetterError, RetryCapExceeded
from sagas.models import SagaRun
from sagas.models.moments import CLOCK, format_moment
from sagas.operations.addressing import rows_by_name
from sagas.operations.predicates import Steps, is_over, retries_spent, steps_of
from sagas.operations.verbs import run_verbs, step_verbs
from sagas.states import SagaState


def allowed_actions(run: SagaRun) -> frozenset[str]:
    """Return the names of the verbs that the run's state allows. ``revert`` is compensating it.

    ``retry_step``, ``skip_step``, ``complete_step`` and ``fail_step`` stand for some of its steps,
    not for each.
    """
    steps = steps_of(run)
    names = {verb.name for verb in run_verbs() if verb.is_offered(run, steps)}
    return frozenset(names.union(*allowed_step_actions(run, steps).values()))


def allowed_step_actions(run: SagaRun, steps: Steps) -> dict[str, frozenset[str]]:
    """Return which verbs of steps the state allows, by the step's name.

    ``steps`` are all rows of the run. A step that has a compensation stands for that one.
    """
    if is_over(run):  # and spares the query
        return {}
    names = {
        name: frozenset(verb.name for verb in step_verbs() if verb.is_offered(run, steps, step))
        for name, step in rows_by_name(run, steps).items()
    }
    return {name: actions for name, actions in names.items() if actions}


def refusal_error(run: SagaRun, action: str, why: str) -> ActionNotAllowed:
    """Return what tells an operator why not, what the run allows now, and who was there before."""
    allowed = sorted(allowed_actions(run))
    message = (
        f"{run} is {run.state}{_last_act(run)}: {action} is not possible, because {why};"
        f" possible now: {', '.join(allowed) or 'nothing'}"
    )
    facts: dict[str, Any] = {
        "run_id": run.pk,
        "action": action,
        "state": run.state,
        "allowed": allowed,
        "stored_error": run.error,
    }
    if why == retries_spent(run):
        return RetryCapExceeded(message, count=run.retry_count, max=MAX_RETRY_COUNT, **facts)
    error = DeadLetterError if run.state == SagaState.DEAD_LETTER else ActionNotAllowed
    return error(message, **facts)


def _last_act(run: SagaRun) -> str:
    last = run.events.exclude(actor="").order_by("-pk").first()
    if last is None:
        return ""
    return f" ({last.type_label}, {last.actor}, {format_moment(last.at, CLOCK)})"
