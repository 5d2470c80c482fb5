"""What a handler sees of its saga, answered from the rows."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from django.db import Error, connections, transaction
from django.db.models import Q, QuerySet
from pydantic import JsonValue

from sagas.definitions import (
    NO_VALUE,
    RemoteTask,
    RunInfo,
    StepOutcome,
    UndoneStep,
)
from sagas.definitions.invocation import refuse_repeated
from sagas.definitions.tokens import Request, answer_token, approval_token
from sagas.engine import pooling, remote_calls, transitions
from sagas.engine.database import has_open_transaction, is_in_transaction, saga_database
from sagas.engine.declared import definition_of, name_today, saga_of
from sagas.engine.leases import Lease
from sagas.exceptions import PayloadError, SagaCancelled, SagaError
from sagas.models import SagaRun, StepRun
from sagas.payloads import Codec, check_tags
from sagas.states import StepState


HEARTBEAT_SECONDS = 1.0
"""A handler may beat as often as it likes; the row is written this often."""

_DETAILS: Codec[Any] = Codec(JsonValue)

_COLUMNS = (
    *("name", "state", "options", "prepared", "input", "output", "in_doubt", "idempotency_key"),
    "rewind",
)


class RowInvocation:
    """An :class:`~sagas.definitions.Invocation` of a claimed step.

    The other steps' outcomes are read in one query, and only by a handler that asks for one.
    """

    def __init__(self, step: StepRun, lease: Lease, *, atomic: bool = False) -> None:
        """``step`` carries its run. ``atomic``: whatever the attempt does is undone if it fails."""
        self._step = step
        self._lease = lease
        self._atomic = atomic
        self._next_write = 0.0
        self.misfit: SagaError | None = None
        """The error raised to the handler because what is stored does not fit this code."""
        self.refused: PayloadError | None = None
        """The error raised to the handler because what it gave cannot be stored."""
        self.last_heartbeat = step.heartbeat
        self.step_name = step.name
        self.attempt = step.attempt
        self.idempotency_key = step.idempotency_key
        self._run_id = step.run_id
        self._run = step.run
        self._definition = saga_of(step.run, step).definition
        self.run = run_info(
            step.run, failed_step=self._definition.current_name(step.run.failed_step)
        )
        self._forward: dict[str, StepRun] | None = None
        self.undoing = self._undone() if step.is_backward else None

    @property
    def answer_token(self) -> str:
        """Return what names this attempt to an outside party, signed."""
        return answer_token(Request(self._step.pk, self._step.fence))

    def approval_token(self, user_id: object, *, expires: timedelta) -> str:
        """Return what lets one user decide what this attempt asks for, signed."""
        return approval_token(Request(self._step.pk, self._step.fence), user_id, expires=expires)

    def outcome_of(self, step_name: str) -> StepOutcome:
        """Return where another step of this run stands, with its typed result if it has one."""
        row = self._forward_rows().get(self._definition.current_name(step_name))
        if row is not None:
            return self._outcome(row)
        if self._may_be_repeated(step_name):
            refuse_repeated(step_name, len(self._repetitions(step_name)))
        # The run was planned without this step: by its plan(), or by another version of the saga.
        return StepOutcome(state=StepState.SKIPPED)

    def outcomes_of(self, step_name: str) -> list[StepOutcome]:
        """Return where each repetition of a step stands, as :meth:`outcome_of` does for one."""
        row = self._forward_rows().get(self._definition.current_name(step_name))
        rows = [row] if row else self._repetitions(step_name)
        return [self._outcome(row) for row in rows]

    def _outcome(self, row: StepRun) -> StepOutcome:
        value = self._load(row) if row.happened else NO_VALUE
        return StepOutcome(state=StepState(row.state), value=value)

    def _may_be_repeated(self, step_name: str) -> bool:
        return self._definition.step(step_name).takes_input

    def _repetitions(self, step_name: str) -> list[StepRun]:
        step = self._definition.step(step_name)
        named = Q()
        for name in (step.name, *step.formerly):
            named |= Q(name__startswith=f"{name}[")
        rows = StepRun.objects.forward().filter(named, run_id=self._run_id)
        with pooling.borrowed():
            found = self._mine(rows)
        return sorted(found.values(), key=attrgetter("position"))

    def _mine(self, rows: QuerySet[StepRun]) -> dict[str, StepRun]:
        """Return, by name, those of the life of the step at hand that its own saga declares."""
        lives = _of_one_life(rows.only(*_COLUMNS, "position"), self._step.rewind or 0)
        saga = self._step.plan.saga
        return {name_today(self._run, row): row for row in lives if row.plan.saga == saga}

    @property
    def carried(self) -> Any:
        """The event of a reaction, as its row keeps it; in a compensation, that of the step being undone."""
        row = self._forward_rows()[self._step.name] if self._step.is_backward else self._step
        return row.input

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run at once, whatever comes of this attempt.

        In a transaction of the handler's they come with its commit, and the run is locked until then.
        """
        with self._storing():
            check_tags(tags, what="the tags of self.set_tags()")
        with pooling.borrowed(), transitions.change(self._run_id) as change:
            transitions.tag(change, tags)

    def call_remote(self, task: RemoteTask, arguments: object) -> Any:
        """Ask, as :func:`~sagas.engine.remote_calls.call` does; return the typed result of a stand-in."""
        said = remote_calls.call(self._step, task, arguments)
        if self._step.is_backward:
            return None
        return definition_of(self._run, self._step).result_from(
            said, what=f"what {task.name} returned"
        )

    def heartbeat(self, details: Any) -> None:
        """Write at most once a second; raise SagaCancelled when the attempt should stop."""
        if self._lease.is_over:
            raise SagaCancelled
        now = time.monotonic()
        if now < self._next_write:
            return
        self._next_write = now + HEARTBEAT_SECONDS
        with self._storing():
            data = _DETAILS.dump(details, what=f"the heartbeat of {self.step_name}")
        self._lease.beat()
        if self._lease.alone or not has_open_transaction():
            self._write_heartbeat(data)
            if self._lease.unwanted:
                raise SagaCancelled
            return
        # Written here, it would lock the row until the transaction ends. SQLite lets nobody else
        # write meanwhile: neither can the attempt be given up.
        self._lease.asks = connections[saga_database()].vendor != "sqlite"
        if is_in_transaction() and not self._atomic:
            # How far it came is true when it is committed.
            keep = partial(self._write_heartbeat, data)
            transaction.on_commit(keep, using=saga_database(), robust=True)

    def _write_heartbeat(self, data: Any) -> None:
        try:
            with pooling.borrowed():
                self._lease.unwanted = not transitions.record_heartbeat(self._step, data)
        except Error:
            if self._lease.alone or has_open_transaction():
                raise
            # No reason to fail what goes on: the thread that keeps the lease tries again.
            self._lease.details, self._lease.asks = data, True

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except PayloadError as error:
            self.refused = error
            raise

    def _undone(self) -> UndoneStep:
        row = self._forward_rows()[name_today(self._run, self._step)]
        known = row.state != StepState.UNKNOWN
        return UndoneStep(
            name=name_today(self._run, row),
            idempotency_key=row.idempotency_key,
            outcome="succeeded" if known else "unknown",
            result=self._load(row) if known else None,
            input=self._load_input(row),
        )

    def _load(self, row: StepRun) -> Any:
        what = f"the result of {row.name} of {self.run.label}"
        try:
            return definition_of(self._run, row).result_codec.load(row.output, what=what)
        except SagaError as error:
            self.misfit = error
            raise

    def _load_input(self, row: StepRun) -> Any:
        if not (row.prepared or row.plan.bound):
            return None
        what = f"the input of {row.name} of {self.run.label}"
        try:
            definition = definition_of(self._run, row)
            takes = definition.takes_input
            return definition.input_codec.load(row.input, what=what) if takes else None
        except SagaError as error:
            self.misfit = error
            raise

    def _forward_rows(self) -> dict[str, StepRun]:
        """Return the step at hand and those that its saga declares, without the repeated ones.

        So each attempt reads the same, however many repetitions its run has.
        """
        if self._forward is None:
            names = {self._step.name, *self._definition.names()}
            life = self._step.rewind or 0
            of_life = Q(name__in=names) | (Q(rewind__gte=life) if life else Q())
            rows = StepRun.objects.forward().filter(of_life, run_id=self._run_id)
            with pooling.borrowed():
                self._forward = self._mine(rows)
        return self._forward


def _of_one_life(rows: Iterable[StepRun], life: int) -> list[StepRun]:
    """Return the rows of the life that rewind ``life`` ended, of which each hides those before it.

    ``life`` 0 is the present one. A step that this rewind let stand lived on until a later one, or lives.
    """
    seen = [row for row in rows if not row.rewind or (life and row.rewind >= life)]
    return sorted(seen, key=lambda row: row.rewind or math.inf, reverse=True)


def run_info(run: SagaRun, *, failed_step: str) -> RunInfo:
    """Return the facts about a run that a handler may read; ``failed_step`` as its code calls it."""
    return RunInfo(
        id=run.pk,
        label=run.label,
        version=run.version,
        key=run.key,
        created_at=run.created_at,
        deadline=run.deadline,
        failed_step=failed_step,
        error_code=run.error_code,
        error=run.error,
    )
