"""The same actions on the real engine, and what its rows then say, in the model's words."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Case, F, When
from django.db.models.functions import Now

from sagas import start_saga
from sagas.engine import recover
from sagas.engine.advance import end_lost_attempt, postpone, record_outcome
from sagas.engine.transitions import claim, end_leases_of, keep_prepared, record_heartbeat
from sagas.exceptions import ActionNotAllowed, UnknownHandler
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    complete_step,
    fail_step,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.states import Direction, StepState
from tests.driving import expire_lease
from tests.faults.model.actions import Action
from tests.faults.model.deciding import OUTCOMES, Told
from tests.faults.model.shapes import saga_of
from tests.faults.model.state import Plan, Row, Run, State
from tests.traced import Receipt, Script


@dataclass
class Replay:
    """One saga in the database, driven as the model is."""

    plan: Plan
    key: str
    claimed: dict[tuple[int, int], StepRun] = field(default_factory=dict)
    seen: dict[tuple[int, int], StepRun] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the saga, with the options of the plan."""
        self.run = start_saga(saga_of(self.plan), Script(), key=self.key)
        going_on = "continue" if self.plan.continue_undoing else "stop"
        options = {**self.run.options, "on_compensation_failure": going_on}
        SagaRun.objects.filter(pk=self.run.pk).update(options=options)
        for row in self.run.steps.all():
            tuned: dict[str, Any] = {**row.options, "max_retries": self.plan.max_retries}
            if row.compensation:
                tuned["compensation"] = {"max_retries": self.plan.undo_retries}
            if row.position in self.plan.reconcile:
                tuned["reconcile"] = True
            if row.position in self.plan.holds:
                tuned["on_unknown"] = "hold"
            critical = row.position not in self.plan.best_effort
            StepRun.objects.filter(pk=row.pk).update(options=tuned, critical=critical)
        self.names = list(self.run.steps.order_by("position").values_list("name", flat=True))

    def row(self, index: int) -> StepRun:
        """Return the row that the model knows by this number."""
        back, place = divmod(index, self.plan.size)
        direction = Direction.BACKWARD if back else Direction.FORWARD
        return StepRun.objects.get(run=self.run, name=self.names[place], direction=direction)

    def do(self, action: Action) -> None:
        """Do it; everything before it was a second ago, everything ready is due, no lease ends."""
        second, hour = timedelta(seconds=1), timedelta(hours=1)
        due = Case(When(state=StepState.READY, then=Now() - second), default=F("due_at"))
        lease = Case(When(state=StepState.RUNNING, then=Now() + hour), default=F("lease_until"))
        StepRun.objects.filter(run=self.run).update(
            ended_at=F("ended_at") - second, due_at=due, lease_until=lease
        )
        getattr(self, f"_{action.name.replace(' ', '_')}", self._nothing)(action)

    def _nothing(self, action: Action) -> None:
        """What happens in a process or outside leaves no trace in the rows."""

    def _deliver(self, action: Action) -> None:
        worker = f"{action.row} {action.fence + 1}"
        attempt = claim(self.row(action.row).pk, action.fence, task_id="", worker=worker)
        if attempt is not None:
            self.claimed[action.row, attempt.fence] = attempt

    _deliver_again = _deliver

    def _tell(self, action: Action) -> None:
        assert action.told is not None
        record_outcome(self.claimed.pop((action.row, action.fence)), OUTCOMES[action.told])

    def _lease_ends(self, action: Action) -> None:
        expire_lease(self.row(action.row).pk)
        recover.end_lost_attempts(10)

    _stall = _lease_ends

    def _found_dead(self, action: Action) -> None:
        assert end_leases_of(f"{action.row} {action.fence}") == 1
        recover.end_lost_attempts(10)

    def _put_back(self, action: Action) -> None:
        attempt = self.claimed.pop((action.row, action.fence))
        postpone(attempt, UnknownHandler("not here"))

    def _condition_says_yes(self, action: Action) -> None:
        keep_prepared(self.claimed[action.row, action.fence])

    def _beat(self, action: Action) -> None:
        record_heartbeat(self.claimed[action.row, action.fence], {"all": "done"})

    def _see_the_wait_run_out(self, action: Action) -> None:
        self.seen[action.row, action.fence] = self.row(action.row)

    def _end_the_wait(self, action: Action) -> None:
        seen = self.seen.pop((action.row, action.fence))
        waiting = StepRun.objects.filter(pk=seen.pk, fence=seen.fence, state=StepState.WAITING)
        waiting.update(lease_until=Now())
        end_lost_attempt(seen)

    def _outside_says(self, action: Action) -> None:
        back, place = divmod(action.row, self.plan.size)
        name = f"undo_{self.names[place]}" if back else self.names[place]
        with suppress(ActionNotAllowed):
            if action.told is Told.DENIED:
                fail_step(self.run, name, error="denied", reason="asked")
            else:
                result = None if back else Receipt("model")
                complete_step(self.run, name, result=result, reason="asked")

    def _deadline(self, action: Action) -> None:
        SagaRun.objects.filter(pk=self.run.pk).update(deadline=Now())
        recover.turn_back_expired(10)

    def _cancel(self, action: Action) -> None:
        cancel_saga(self.run, reason="asked to")

    def _retry(self, action: Action) -> None:
        retry_saga(self.run, reason="looked at")

    def _compensate(self, action: Action) -> None:
        compensate_saga(self.run, reason="looked at")

    def _skip(self, action: Action) -> None:
        skip_step(self.run, self._name(action), reason="seen to")

    def _skip_with_a_result(self, action: Action) -> None:
        skip_step(self.run, self._name(action), reason="done", result=Receipt("model"))

    def _try_again(self, action: Action) -> None:
        retry_step(self.run, self._name(action), reason="once more")

    def _name(self, action: Action) -> str:
        return self.names[action.row % self.plan.size]

    def state(self) -> dict[str, Any]:
        """Return what the rows say, as :func:`of_model` says it of the model."""
        run = SagaRun.objects.get(pk=self.run.pk)
        rows: list[StepRun | None] = [None] * (2 * self.plan.size)
        for row in StepRun.objects.filter(run=run):
            rows[self.names.index(row.name) + self.plan.size * row.is_backward] = row
        number = {row.pk: index for index, row in enumerate(rows) if row is not None}
        found = {index: _told(row, number) for index, row in enumerate(rows) if row is not None}
        ended = {i: row.ended_at.timestamp() for i, row in enumerate(rows) if row and row.ended_at}
        told = (
            run.state,
            run.outcome_when_undone,
            run.remaining,
            run.pivot_passed,
            run.retry_count,
        )
        return {"run": told, "rows": found, "ended": sorted(ended, key=lambda i: ended[i])}


def _told(row: StepRun, number: dict[UUID, int]) -> tuple[Any, ...]:
    return (
        str(row.state),
        row.pending_predecessors,
        tuple(sorted(number[UUID(pk)] for pk in row.successors)),
        row.fence,
        row.attempt,
        row.in_doubt,
        row.reconcile_attempts,
        row.position,
        row.answer is not None,
        tuple(row.at_large or ()),
        bool(row.prepared),
        row.detached,
        row.heartbeat is not None,
        row.plan.holds_unknown,
    )


def of_model(state: State) -> dict[str, Any]:
    """Return what the model has that the database has too."""
    rows = {index: row for index, row in enumerate(state.rows) if row is not None}
    ended = sorted((index for index in rows if rows[index].ended), key=lambda i: rows[i].ended)
    run: Run = state.run
    told = (run.state, run.outcome_when_undone, run.remaining, run.pivot_passed, run.retries)
    return {
        "run": told,
        "rows": {index: _of_row(row) for index, row in rows.items()},
        "ended": ended,
    }


def _of_row(row: Row) -> tuple[Any, ...]:
    return (
        row.state,
        row.pending_predecessors,
        tuple(sorted(row.successors)),
        row.fence,
        row.attempt,
        row.in_doubt,
        row.reconcile_attempts,
        row.position,
        bool(row.answer),
        row.at_large,
        row.met,
        bool(row.follow),
        row.progress,
        row.holds,
    )
