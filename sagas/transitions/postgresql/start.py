"""Runs come into being by one statement, however many they are.

Its parameters are two documents: what the runs have of their own, and what they have in common,
which is written once per plan. No row is made here that nobody asked for: of the steps there are
instances for those that are sent.
"""

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sagas.database import saga_database
from sagas.models import SagaRun, StepRun
from sagas.states import Direction, SagaState
from sagas.transitions.postgresql.statement import Statement


if TYPE_CHECKING:
    from collections.abc import Sequence

    from sagas.transitions.birth import Birth, Born, Plan, PlannedStep

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


def insert_runs(plan: "Plan", births: "Sequence[Birth]", grace: timedelta) -> "list[Born]":
    """Insert the runs whose label and key are free, with their steps and first events; return them."""
    rows = _START.run(json.dumps([_own(birth) for birth in births]), _document(plan), grace)
    made = {run_id: moments for run_id, *moments in rows}
    return [_born(plan, birth, *made[birth.id]) for birth in births if birth.id in made]


def _own(birth: "Birth") -> dict[str, Any]:
    return {
        "id": str(birth.id),
        "key": birth.key,
        "input": birth.input,
        "tags": birth.tags,
        "steps": [str(step_id) for step_id in birth.step_ids],
    }


def _document(plan: "Plan") -> str:
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


def _born(plan: "Plan", birth: "Birth", deadline: datetime, created_at: datetime) -> "Born":
    own = {
        "id": birth.id,
        "label": plan.label,
        "version": plan.version,
        "key": birth.key,
        "state": SagaState.RUNNING,
        "remaining": plan.remaining,
        "input": birth.input,
        "tags": birth.tags,
        "options": dict(plan.options),
        "deadline": deadline,
        "created_at": created_at,
        "updated_at": created_at,
    }
    run = SagaRun.from_db(saga_database(), _RUN.keys(), {**_RUN, **own}.values())
    return run, [_first_step(birth, place, step) for place, step in plan.first]


def _first_step(birth: "Birth", place: int, step: "PlannedStep") -> StepRun:
    """Return what a message and the log need of it; the rest is fetched when somebody asks."""
    values = (
        *(birth.step_ids[place], birth.id, step.name, Direction.FORWARD),
        *(step.in_place, step.options, 0, 0, 1),
    )
    return StepRun.from_db(saga_database(), _FIRST_STEP, values)
