"""What a handler sees of its saga, answered from the rows."""

import time
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from sagas import transitions
from sagas.definitions import (
    NO_VALUE,
    RunInfo,
    SagaDefinition,
    StepDefinition,
    StepOutcome,
    UndoneStep,
)
from sagas.exceptions import SagaCancelled
from sagas.leases import Lease
from sagas.models import SagaRun, StepRun
from sagas.payloads import Codec, check_tags
from sagas.states import MAY_HAVE_HAPPENED, StepState


HEARTBEAT_SECONDS = 1.0
"""A handler may beat as often as it likes; the row is written this often."""

_DETAILS: Codec[Any] = Codec(JsonValue)


class RowInvocation:
    """An :class:`~sagas.definitions.Invocation` of a claimed step.

    The other steps' outcomes are read in one query, and only by a handler that asks for one.
    """

    def __init__(self, step: StepRun, definition: SagaDefinition, lease: Lease) -> None:
        """``step`` carries its run."""
        self._step = step
        self._lease = lease
        self._next_write = 0.0
        self.last_heartbeat = step.heartbeat
        self.step_name = step.name
        self.attempt = step.attempt
        self.idempotency_key = step.idempotency_key
        self.run = run_info(step.run)
        self._run_id = step.run_id
        self._definition = definition
        self._forward: dict[str, StepRun] | None = None
        self.undoing = self._undone() if step.is_backward else None

    def outcome_of(self, step_name: str) -> StepOutcome:
        """Return where another step of this run stands, with its typed result if it has one."""
        row = self._forward_rows().get(step_name)
        if row is None:
            # Another version of the saga planned this run, without this step.
            return StepOutcome(state=StepState.SKIPPED)
        return StepOutcome(
            state=StepState(row.state), value=self._load(row) if row.happened else NO_VALUE
        )

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run at once, whatever comes of this attempt."""
        check_tags(tags, what="the tags of self.set_tags()")
        with transitions.change(self._run_id) as change:
            change.tag(tags)

    def heartbeat(self, details: Any) -> None:
        """Write at most once a second; raise SagaCancelled when the attempt should stop."""
        if self._lease.lost:
            raise SagaCancelled
        now = time.monotonic()
        if now < self._next_write:
            return
        self._next_write = now + HEARTBEAT_SECONDS
        data = _DETAILS.dump(details, what=f"the heartbeat of {self.step_name}")
        if not transitions.record_heartbeat(self._step, data):
            raise SagaCancelled
        self._lease.beat()

    def _undone(self) -> UndoneStep:
        row = self._forward_rows()[self.step_name]
        known = row.state not in MAY_HAVE_HAPPENED - {StepState.SUCCEEDED}
        return UndoneStep(
            name=row.name,
            idempotency_key=row.idempotency_key,
            outcome="succeeded" if known else "unknown",
            result=self._load(row) if known else None,
        )

    def _load(self, row: StepRun) -> Any:
        definition: StepDefinition = self._definition.step(row.name)
        return definition.result_codec.load(row.output)

    def _forward_rows(self) -> dict[str, StepRun]:
        if self._forward is None:
            rows = StepRun.objects.forward().filter(run_id=self._run_id)
            columns = ("name", "state", "output", "doubtful", "idempotency_key")
            self._forward = {row.name: row for row in rows.only(*columns)}
        return self._forward


def run_info(run: SagaRun) -> RunInfo:
    """Return the facts about a run that a handler may read."""
    return RunInfo(
        id=run.pk,
        label=run.label,
        version=run.version,
        key=run.key,
        created_at=run.created_at,
        deadline=run.deadline,
        failed_step=run.failed_step,
        error_code=run.error_code,
        error=run.error,
    )
