"""Runs come into being by one statement, however many they are.

Its parameters are two documents: what the runs have of their own, and what they have in common,
which is written once per plan. No row is made here that nobody asked for: of the steps there are
instances for those that are sent.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sagas.definitions import Plan, PlannedStep
from sagas.engine.database import saga_database
from sagas.engine.transitions.postgresql.statement import Statement
from sagas.engine.transitions.values import InsertedRun, NewRun
from sagas.models import SagaRun, StepRun
from sagas.states import Direction, SagaState


_START = Statement("start")

_RUN = {
    field.attname: field.get_default()
    for field in SagaRun._meta.concrete_fields  # noqa: SLF001 documented by Django
}
"""A run's columns in their order, with what start.sql leaves to their defaults."""

_FIRST_STEP = (
    "id",
    "run_id",
    "name",
    "direction",
    "in_place",
    "options",
    "fence",
    "attempt",
    "sends",
)

_documents: "WeakKeyDictionary[Plan, str]" = WeakKeyDictionary()


def insert_runs(plan: Plan, new_runs: Sequence[NewRun], grace: timedelta) -> list[InsertedRun]:
    """Insert the runs whose label and key are free, with their steps and first events; return them."""
    rows = _START.run(json.dumps([_own(new) for new in new_runs]), _document(plan), grace)
    made = {run_id: moments for run_id, *moments in rows}
    return [_inserted(plan, new, *made[new.id]) for new in new_runs if new.id in made]


def _own(new: NewRun) -> dict[str, Any]:
    return {
        "id": str(new.id),
        "key": new.key,
        "input": new.input,
        "tags": new.tags,
        "parent_step": new.parent_step and str(new.parent_step),
        "steps": [str(step_id) for step_id in new.step_ids],
    }


def _document(plan: Plan) -> str:
    """Return what the runs of a plan have in common, as JSON."""
    found = _documents.get(plan)
    if found is None:
        found = _documents[plan] = json.dumps(
            {
                "label": plan.label,
                "version": plan.version,
                "remaining": plan.remaining,
                "options": plan.options,
                "timeout": _interval(plan.timeout),
                "steps": [
                    {
                        **vars(step),
                        "position": position,
                        "timeout": None if step.timeout is None else _interval(step.timeout),
                    }
                    for position, step in enumerate(plan.steps)
                ],
            }
        )
    return found


def _interval(duration: timedelta) -> str:
    return f"{duration.total_seconds():.6f} seconds"


def _inserted(plan: Plan, new: NewRun, deadline: datetime, created_at: datetime) -> InsertedRun:
    own = {
        "id": new.id,
        "label": plan.label,
        "version": plan.version,
        "key": new.key,
        "state": SagaState.RUNNING,
        "remaining": plan.remaining,
        "parent_step_id": new.parent_step,
        "input": new.input,
        "tags": new.tags,
        "options": dict(plan.options),
        "deadline": deadline,
        "created_at": created_at,
        "updated_at": created_at,
    }
    run = SagaRun.from_db(saga_database(), _RUN.keys(), {**_RUN, **own}.values())
    return run, [_first_step(new, place, step) for place, step in plan.first]


def _first_step(new: NewRun, place: int, step: PlannedStep) -> StepRun:
    """Return what a message and the log need of it; the rest is fetched when somebody asks."""
    values = (
        *(new.step_ids[place], new.id, step.name, Direction.FORWARD),
        *(step.in_place, step.options, 0, 0, 1),
    )
    return StepRun.from_db(saga_database(), _FIRST_STEP, values)
