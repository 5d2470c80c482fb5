"""Whatever happens to a saga, its history walks along legal arrows only (R14, R15, R55)."""

import os
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagas import Saga, start_saga
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.transitions import claim
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, compensate_saga, resolve_saga, retry_saga
from sagas.states import (
    FINAL_SAGAS,
    MAY_HAVE_HAPPENED,
    SAGA_ARROWS,
    STEP_ARROWS,
    SagaState,
    StepState,
)
from tests.database import suite
from tests.driving import drive, expire_lease, fresh, ready_steps, run_one
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = pytest.mark.django_db

KEYS = count()
FAULTS = ["", "permanent", "network", "once-network", "unknown", "bug"]
HANDLERS: dict[type[Saga[Script]], list[str]] = {
    saga: [
        name
        for step in saga.definition.steps
        for name in (step.name, step.compensation.name if step.compensation else "")
        if name
    ]
    for saga in (Five, Diamond)
}


def expire(run: SagaRun) -> None:
    SagaRun.objects.filter(pk=run.pk).update(deadline=Now())
    recover.sweep()


def begin(run: SagaRun) -> StepRun | None:
    """Claim a step without ending it."""
    row = next(iter(ready_steps(run)), None)
    return row and claim(row.pk, row.fence, task_id="", worker="")


def end(run: SagaRun) -> None:
    """What was begun first ends well."""
    for attempt in StepRun.objects.filter(run=run, state=StepState.RUNNING)[:1]:
        record_outcome(attempt, Succeeded(output={"of": attempt.name}))


def refuse(run: SagaRun) -> None:
    """What was begun first fails for good."""
    for attempt in StepRun.objects.filter(run=run, state=StepState.RUNNING)[:1]:
        record_outcome(attempt, Failed(code="REFUSED", error="refused"))


def lose_a_worker(run: SagaRun) -> None:
    attempt = begin(run)
    if attempt is not None:
        expire_lease(attempt.pk)
    recover.sweep()


def come_to_rest(run: SagaRun) -> SagaRun:
    """End what is in flight, and drive the rest."""
    while StepRun.objects.filter(run=run, state=StepState.RUNNING).exists():
        end(run)
    return drive(run)


def go_on(run: SagaRun) -> None:
    StepRun.objects.filter(run=run, state=StepState.READY).update(due_at=Now())
    if ready_steps(run):
        run_one(run)


def repair(run: SagaRun) -> None:
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})


ACTS: dict[str, Any] = {
    "go on": go_on,
    "begin": begin,
    "end": end,
    "refuse": refuse,
    "cancel": lambda run: cancel_saga(run, reason="x"),
    "compensate": lambda run: compensate_saga(run, reason="x"),
    "retry": lambda run: retry_saga(run, reason="x"),
    "resolve": lambda run: resolve_saga(run, reason="x"),
    "expire": expire,
    "lose a worker": lose_a_worker,
    "repair": repair,
}
# PostgreSQL is slower by far, and repeats what SQLite has shown of the decisions.
STORIES = int(os.environ.get("SAGAS_STORIES", "60" if suite.kind == "sqlite" else "30"))
"""How many are told, others each time; ``make faults`` tells 600."""

DAILY = st.sampled_from(["go on"])


@st.composite
def stories(draw: st.DrawFn) -> tuple[type[Saga[Script]], dict[str, str], list[str]]:
    """A saga, what goes wrong in it, and what is done to it."""
    saga = draw(st.sampled_from(list(HANDLERS)))
    faults = draw(st.dictionaries(st.sampled_from(HANDLERS[saga]), st.sampled_from(FAULTS)))
    acts = draw(st.lists(st.one_of(DAILY, DAILY, st.sampled_from(list(ACTS))), max_size=15))
    return saga, faults, acts


def live(run: SagaRun, acts: list[str]) -> None:
    """Do all that; what the state does not allow is refused."""
    for act in acts:
        with suppress(ActionNotAllowed):
            ACTS[act](fresh(run))


def replay(run: SagaRun) -> None:
    """Walk the events: each change begins where the last one ended, and ends where the row is."""
    at = ""
    steps: dict[Any, str] = {}
    for event in run.events.exclude(to_state=""):
        if event.step_id is None:
            assert event.from_state == at
            assert at == "" or event.to_state in SAGA_ARROWS[SagaState(at)]
            at = event.to_state
        else:
            came_from = StepState(event.from_state)
            assert came_from == steps.get(event.step_id, "pending")
            assert event.to_state in STEP_ARROWS[came_from]
            steps[event.step_id] = event.to_state
    assert at == run.state
    rows = dict(run.steps.values_list("pk", "state"))
    assert {pk: steps.get(pk, "pending") for pk in rows} == rows


def keep_promises(run: SagaRun) -> None:
    """What the state of an ended saga says is so."""
    forward = list(run.steps.forward())
    if run.state == SagaState.COMPLETED:
        assert all(s.state in {"succeeded", "skipped"} for s in forward if s.critical)
    if run.state in {SagaState.COMPENSATED, SagaState.CANCELLED}:
        assert not [s.name for s in forward if s.compensation and s.state in MAY_HAVE_HAPPENED]
        assert not [s.name for s in forward if s.pivot and s.state in MAY_HAVE_HAPPENED]
    assert (run.completed_at is not None) == (run.state in FINAL_SAGAS)
    assert not run.steps.filter(state=StepState.RUNNING).exists()


class TestHistory:
    @settings(max_examples=STORIES, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(story=stories())
    def test_only_legal_arrows_appear_and_every_saga_ends(
        self, story: tuple[type[Saga[Script]], dict[str, str], list[str]]
    ) -> None:
        saga, faults, acts = story
        CALLS.clear()
        run = start_saga(saga, Script(faults), key=f"story-{next(KEYS)}")
        live(run, acts)
        run = come_to_rest(run)
        replay(run)
        keep_promises(run)
        assert run.state in FINAL_SAGAS | {SagaState.DEAD_LETTER}

    @settings(
        max_examples=STORIES // 3, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(story=stories())
    def test_every_dead_letter_can_be_brought_to_its_end(
        self, story: tuple[type[Saga[Script]], dict[str, str], list[str]]
    ) -> None:
        saga, faults, acts = story
        run = start_saga(saga, Script(faults), key=f"letter-{next(KEYS)}")
        live(run, acts)
        run = come_to_rest(run)
        if run.state == SagaState.DEAD_LETTER and run.retry_count < 10:
            repair(run)
            retry_saga(run, reason="repaired")
            run = drive(run)
            assert run.state in FINAL_SAGAS
            replay(run)
            keep_promises(run)
