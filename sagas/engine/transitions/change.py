"""Changes of a run and its steps under the run's lock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from sagas.conf import saga_settings
from sagas.engine import isolation
from sagas.engine.database import saga_database, with_idle_timeout
from sagas.engine.isolation import read_committed
from sagas.engine.transitions import run_time
from sagas.engine.transitions.claiming import claim_ready, record_claim
from sagas.engine.transitions.events import EventLog
from sagas.engine.transitions.insert import due_now, fresh_life
from sagas.engine.transitions.values import Claimant
from sagas.models import SagaRun, StepRun
from sagas.payloads import truncate_error
from sagas.states import (
    DONE,
    FINAL_SAGAS,
    IN_FLIGHT_STEPS,
    MAY_HAVE_HAPPENED,
    SAGA_ARROWS,
    STEP_ARROWS,
    EventType,
    SagaState,
    StepState,
    require_arrow,
)


_GOES_ON_WITHOUT = frozenset({SagaState.RUNNING, SagaState.COMPLETED})
"""Where a saga does without a best-effort step; elsewhere what did not succeed is no warning."""


@contextmanager
def change(run_id: UUID, claimant: Claimant | None = None) -> "Iterator[RunChange]":
    """Open a transaction that holds the run's lock; its events are written at the end.

    ``claimant`` goes on in place where it may.
    ``no_key``: inserts of steps and events, which only reference the run, need not wait.
    """
    runs = SagaRun.objects.select_for_update(no_key=True).defer("input", "tags")
    locking = with_idle_timeout(isolation.with_level(runs, saga_database()))
    with read_committed(saga_database()):
        run = locking.get(pk=run_id)
        if isolation.is_above_read_committed(run):
            # What changed since the caller's transaction began is an error of it, and not overlooked.
            list(StepRun.objects.select_for_update().filter(run_id=run_id).values_list("pk"))
        changing = RunChange(run, claimant)
        yield changing
        changing.event_log.write()


class RunChange:
    """One transaction on one run. Every verb is a guarded update that answers won or lost.

    ``made_ready`` collects the steps that became ready and whose messages the caller sends;
    ``taken`` is the one that the claimant goes on with, without a message.
    """

    def __init__(self, run: SagaRun, claimant: Claimant | None = None) -> None:
        """``run`` is locked by this transaction."""
        self.run = run
        self.event_log = EventLog()
        self.made_ready: list[StepRun] = []
        self.taken: StepRun | None = None
        self._claimant = claimant
        self.grace = timedelta(seconds=saga_settings().RESEND_SECONDS)

    # Attempts

    def end_attempt(
        self, step: StepRun, to: StepState, type_: EventType, note: str = "", **columns: Any
    ) -> bool:
        """``running`` or ``waiting`` → an outcome or ``unknown``, if ``step.fence`` is still the row's."""
        return self._move_attempt(step, to, type_, note, **{"ended_at": Now(), **columns})

    def put_back(self, step: StepRun, delay: float, note: str, **columns: Any) -> bool:
        """Back to ``ready``, due in ``delay`` seconds: the next attempt is a row, not a timer."""
        due = due_now(timedelta(), timedelta(seconds=delay))
        type_ = EventType.STEP_ASKING if columns.get("asking") else EventType.STEP_RETRYING
        return self._move_attempt(step, StepState.READY, type_, note, **due, **columns)

    def expires_within(self, step: StepRun, delay: float) -> bool:
        """Whether the step's own time is over ``delay`` seconds from now."""
        if step.timeout is None and not step.detached_retry:
            return False
        end = run_time.later(self.run, timedelta(seconds=delay))
        return StepRun.objects.filter(pk=step.pk, expires_at__lte=end).exists()

    def _move_attempt(
        self,
        step: StepRun,
        to: StepState,
        type_: EventType,
        note: str,
        *,
        actor: str = "",
        **columns: Any,
    ) -> bool:
        came_from = StepState(step.state)
        require_arrow(STEP_ARROWS, came_from, to)
        mine = StepRun.objects.filter(pk=step.pk, state=came_from, fence=step.fence)
        if to not in DONE and "answer" not in columns:
            # An answer that came meanwhile knows more than this outcome does.
            mine = mine.filter(answer__isnull=True)
        won = mine.update(state=to, updated_at=Now(), **{"lease_until": None, **columns})
        if won:
            self.event_log.record_step(type_, step, came_from, to, note, actor)
        return bool(won)

    def record_late_outcome(self, step: StepRun, note: str, actor: str = "") -> None:
        """Record an outcome whose attempt was given up."""
        self.event_log.record_step(EventType.STEP_LATE, step, "", "", note, actor)

    # Going on

    def release_successors(self, step: StepRun) -> None:
        """Lower the ``pending_predecessors`` of what follows ``step``; what reaches 0 becomes ready."""
        following = StepRun.objects.filter(pk__in=step.successors)
        last = When(pending_predecessors=1, state=StepState.PENDING, then=Value(StepState.READY))
        due = due_now(self.grace)
        following.update(
            pending_predecessors=F("pending_predecessors") - 1,
            state=Case(last, default=F("state")),
            updated_at=Now(),
            **{
                column: Case(
                    When(pending_predecessors=1, state=StepState.PENDING, then=moment),
                    default=F(column),
                )
                for column, moment in due.items()
            },
        )
        ready = list(following.filter(state=StepState.READY, pending_predecessors=0))
        if not self._take(step, ready):
            self.collect_ready(ready, StepState.PENDING)

    def _take(self, ended: StepRun, ready: Sequence[StepRun]) -> bool:
        """Claim in place what ``ended`` made ready, where its plan and the claimant allow it."""
        if self._claimant is None or not ended.in_place or self.run.paused_at is not None:
            return False
        for step in ready:
            self.taken = claim_ready(step.pk, step.fence, self._claimant)
            if self.taken is not None:
                record_claim(self.event_log, self.taken, StepState.PENDING)
        return bool(ready)

    def collect_ready(self, ready: Iterable[StepRun], came_from: StepState) -> None:
        """Tell that steps became ready, and have their messages sent by the caller."""
        for step in ready:
            self.event_log.record_step(EventType.STEP_READY, step, came_from, StepState.READY)
            self.made_ready.append(step)

    def count_down(self) -> None:
        """One of the last steps of this direction ended."""
        self._update_run(remaining=F("remaining") - 1)
        self.run.remaining -= 1

    def pass_pivot(self, pivot: StepRun, state: str = StepState.SUCCEEDED) -> None:
        """From here on there is no way back; also if the pivot was skipped, for nothing undoes what follows."""
        self._update_run(pivot_passed=True)
        self.run.pivot_passed = True
        if state == StepState.SKIPPED:
            self.record_event(EventType.PIVOT_PASSED, f"{pivot} was skipped, and counts as passed")

    def set_warning(self) -> None:
        """A best-effort step did not succeed; the run goes on and says so."""
        if not self.run.has_warnings:
            self._update_run(has_warnings=True)
            self.run.has_warnings = True

    def update_warning(self) -> None:
        """Warn as long as a step is left that did not succeed, or that is tried again by hand."""
        left = Q(state__in=(StepState.FAILED, StepState.UNKNOWN))
        left |= Q(detached_retry=True) & ~Q(state__in=(*DONE, StepState.COMPENSATED))
        if self.run.state == SagaState.COMPLETED:
            left |= Q(state=StepState.CANCELLED)
        warns = StepRun.objects.forward().filter(left, run_id=self.run.pk).exists()
        if warns != self.run.has_warnings and (not warns or self.run.state in _GOES_ON_WITHOUT):
            self._update_run(has_warnings=warns)
            self.run.has_warnings = warns

    def mark_undone(self, step: StepRun) -> None:
        """The forward step of compensation ``step``: succeeded or unknown → ``compensated``.

        The chain may have been made anew while the attempt ran, so ``step`` learns what follows it now.
        """
        both = StepRun.objects.filter(run_id=step.run_id, name=step.name)
        for row in both.only("state", "run_id", "attempt", "name", "direction", "successors"):
            if row.is_backward:
                step.successors = row.successors
            elif row.state in MAY_HAVE_HAPPENED:
                self._mark_undone(row)

    def _mark_undone(self, row: StepRun) -> None:
        came_from = StepState(row.state)
        undone = StepRun.objects.filter(pk=row.pk, state=came_from)
        if undone.update(state=StepState.COMPENSATED, updated_at=Now()):
            self.event_log.record_step(
                EventType.STEP_COMPENSATED, row, came_from, StepState.COMPENSATED
            )

    def record_event(self, type_: EventType, note: str, actor: str = "") -> None:
        """Record something about the run that changes no state."""
        self.event_log.record_run(type_, self.run, "", "", note, actor)

    def note_undo_failure(self, error: str) -> None:
        """Keep beside the original error why undoing failed."""
        self.run.compensation_error = truncate_error(error)
        self._update_run(compensation_error=self.run.compensation_error)

    # The run itself

    def move(
        self, to: SagaState, type_: EventType, note: str = "", actor: str = "", **columns: Any
    ) -> None:
        """Move the locked run along a legal arrow."""
        came_from = SagaState(self.run.state)
        require_arrow(SAGA_ARROWS, came_from, to)
        completed_at = Now() if to in FINAL_SAGAS else None
        if to in FINAL_SAGAS and self.run.paused_at is not None:
            run_time.end_pause(self.run)
        if came_from == SagaState.DEAD_LETTER:
            columns |= {"auto_retry_at": None, "poisoned": False}
        self._update_run(state=to, completed_at=completed_at, **columns)
        self.run.state = to
        self.event_log.record_run(type_, self.run, came_from, to, note, actor)

    def reopen(self, note: str) -> None:
        """A run that was rolled back turns back once more: something of it stands, or may."""
        self.move(SagaState.COMPENSATING, EventType.REOPENED, note=note)
        self.restart_count(0)

    def _update_run(self, **columns: Any) -> None:
        SagaRun.objects.filter(pk=self.run.pk, state=self.run.state).update(
            updated_at=Now(), **columns
        )

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add to what operators search by."""
        self.run.refresh_from_db(fields=["tags"])
        self.run.tags = {**self.run.tags, **tags}
        self._update_run(tags=self.run.tags)
        note = ", ".join(f"{name}={value}" for name, value in tags.items())
        self.event_log.record_run(EventType.TAGGED, self.run, "", "", note)

    # Turning back

    def has_in_flight(self) -> bool:
        """Whether a forward step of this run is running or waiting, or being asked about."""
        forward = StepRun.objects.forward().filter(run_id=self.run.pk)
        return forward.in_flight().exists()

    # A plan that is made anew

    def reset(
        self,
        step: StepRun,
        to: StepState,
        *,
        pending_predecessors: int,
        anew: bool = False,
        **columns: Any,
    ) -> None:
        """Give a step its place in a plan that is made anew; one that changes its state begins afresh.

        ``anew``: so does one that has not begun, for it belongs to a saga that begins once more.
        """
        came_from = StepState(step.state)
        if came_from != to:
            require_arrow(STEP_ARROWS, came_from, to)
            self.event_log.record_step(EventType.STEP_RESTORED, step, came_from, to)
        if came_from != to or (anew and to not in IN_FLIGHT_STEPS):
            due = due_now(self.grace) if to == StepState.READY else {}
            columns |= {"state": to, **fresh_life(step), **due}
        elif step.pending_predecessors == pending_predecessors and not columns:
            return
        StepRun.objects.filter(pk=step.pk, state=came_from).update(
            pending_predecessors=pending_predecessors, updated_at=Now(), **columns
        )
        step.state = to

    def restart_count(self, remaining: int) -> None:
        """Say how many last steps of the resumed direction have not ended."""
        self._update_run(remaining=remaining)
        self.run.remaining = remaining

    def send_ready(self) -> None:
        """Have the messages of all ready steps sent: while the run stood still, nobody did."""
        self.made_ready += StepRun.objects.filter(run_id=self.run.pk, state=StepState.READY)
