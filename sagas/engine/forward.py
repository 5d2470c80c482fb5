"""A saga goes forward again: from where it stopped, or from where a rewind led.

While it stood still, steps in flight ended and nothing followed from it. So the plan is made anew
from what the rows say, instead of by counters that went on in the meantime.
"""

from datetime import timedelta
from typing import Any

from sagas.definitions import registry
from sagas.engine import decisions, transitions
from sagas.exceptions import UnknownSaga
from sagas.models import SagaRun, StepRun
from sagas.states import IN_FLIGHT_STEPS, UNSUCCESSFUL_STEPS, EventType, SagaState


def go_forward_again(change: transitions.RunChange) -> None:
    """What was to be undone is undone: begin new lives of it, if a rewind wants that, and go on."""
    run = change.run
    to, anew_columns = run.rewind_to, columns_anew(change)
    note = f"from {to}" if to else ""
    begun = transitions.begin_new_lives(change) if to else {}
    transitions.move_run(
        change, SagaState.RUNNING, EventType.REWOUND, note=note, **begun, **anew_columns
    )
    run.rewind_to = run.outcome_when_undone = ""
    transitions.update_warning(change)
    resume_forward(change)


def columns_anew(change: transitions.RunChange) -> dict[str, Any]:
    """Return the columns of a run that goes forward again: no error, and a fresh deadline."""
    deadline = transitions.later(change.run, _timeout(change.run))
    return {
        "deadline": deadline,
        "outcome_when_undone": "",
        "failed_step": "",
        "error_code": "",
        "error": "",
    }


def _timeout(run: SagaRun) -> timedelta:
    """Return a fresh time to run: what the saga declares now, or had at its start."""
    try:
        timeout: timedelta = registry.get(run.label).definition.timeout
    except UnknownSaga:
        return run.deadline - run.created_at
    return timeout


def resume_forward(change: transitions.RunChange) -> None:
    """Give every forward step that is not done its place again."""
    rows = list(StepRun.objects.forward().present().filter(run_id=change.run.pk))
    places = decisions.replan(rows)
    for row in rows:
        if row.pk in places:
            place = places[row.pk]
            anew = row.state not in IN_FLIGHT_STEPS
            transitions.reset(
                change, row, place.state, pending_predecessors=place.pending_predecessors, anew=anew
            )
        elif row.state in UNSUCCESSFUL_STEPS:
            transitions.set_warning(change)
    awaited = [row for row in rows if row.pk in places and not row.detached]
    transitions.restart_count(change, sum(row.is_last for row in awaited))
    if not awaited:
        transitions.move_run(change, SagaState.COMPLETED, EventType.COMPLETED)
    transitions.send_ready(change)
