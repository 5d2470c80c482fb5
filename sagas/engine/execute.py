"""Run one claimed step: claim, call the handler, hand over the outcome.

No Celery here: a step runs in the same way from a worker, from a test and from a shell. No
transaction is open while a handler talks to the outside, except for ``atomic`` steps, whose effect
is written in the transaction of their outcome.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from django.db import DatabaseError, Error, transaction

from sagas.conf import saga_settings
from sagas.definitions import StepDefinition
from sagas.engine import advance, child_ends, leases, pooling, transitions
from sagas.engine.advance import Recorded
from sagas.engine.attempt import Attempt, Ended, GivenUp, Misfit
from sagas.engine.database import (
    OUTCOME_SECONDS,
    is_about_data,
    is_connection_lost,
    is_in_transaction,
    leave_foreign_transaction,
    saga_database,
)
from sagas.engine.decisions import Failed, Outcome
from sagas.engine.declared import definition_of, refuse_newer, saga_of
from sagas.engine.failures import classify
from sagas.engine.isolation import read_committed
from sagas.engine.reacting import ReactionAttempt
from sagas.engine.transitions import Claimant
from sagas.exceptions import NewerVersion, TransactionLeftOpen, UnknownHandler, UnknownSaga
from sagas.logs import Outage, saga_context
from sagas.models import StepRun


logger = logging.getLogger("sagas.execute")
T = TypeVar("T")

RECONNECT_DELAYS = (0.1, 0.3, 1.0, 3.0)
"""Seconds between tries of a short transaction whose connection was lost."""

OUTCOME_RECONNECT_DELAYS = (3.0,) * 100
"""Further ones for an outcome: what happened waits five minutes for a database to record it."""

_outage = Outage(logger, "claiming steps", "claim")


class InPlaceBudget:
    """What one message carries a worker through: a first step, and what may follow in place."""

    def __init__(self, claimant: Claimant, *, in_place: bool) -> None:
        """Begin now; bounded by ``SAGAS["IN_PLACE_STEPS"]`` and ``SAGAS["IN_PLACE_SECONDS"]``."""
        self._claimant = claimant
        self._steps = saga_settings().IN_PLACE_STEPS if in_place else 1
        self._until = time.monotonic() + saga_settings().IN_PLACE_SECONDS

    def claimant(self) -> Claimant | None:
        """Return who claims the step after this one, or None when a message is to be sent for it."""
        self._steps -= 1
        goes_on = self._steps > 0 and time.monotonic() < self._until
        return self._claimant if goes_on else None


def execute(
    step_id: UUID, fence: int, *, task_id: str = "", worker: str = "", in_place: bool = False
) -> str:
    """Run the attempt that a message asks for. Must be called outside a transaction.

    ``in_place``: go on with what follows, within bounds, where that needs no message. Returns what
    came of the last attempt, for logs and task results: ``"succeeded"``, ``"skipped"``,
    ``"waiting"``, ``"did not happen"``, an error code, ``"late"`` when the attempt was given up meanwhile, or
    ``"not claimed"``.
    """
    budget = InPlaceBudget(Claimant(task_id=task_id, worker=worker), in_place=in_place)
    result = "not claimed"
    leave_foreign_transaction()
    try:
        claim = partial(transitions.claim, step_id, fence, task_id=task_id, worker=worker)
        step = retry_on_lost_connection(claim)
        _outage.over()
    except Error as error:
        if is_in_transaction():
            raise
        # Raised, it would call the error callback, which has the message sent again at once. So it is
        # sent when nobody has claimed the step for a while, as one that was lost.
        _outage.failed(error)
        return result
    if step is None:
        logger.info("step not claimed", extra={"action": "not_claimed", "step_id": str(step_id)})
    while step is not None:
        run = step.run
        with saga_context(saga_id=str(step.run_id), step=str(step)):
            result, step = _execute_claimed(step, budget)
        if run.parent_step_id is not None:
            child_ends.tell_soon(run.pk)
    return result


def retry_on_lost_connection(
    transaction_of_ours: Callable[[], T], further: Sequence[float] = ()
) -> T:
    """Try a short transaction again on a new connection: it is guarded, so twice is as once.

    A session can be alive and of no use: it has forgotten a statement, or a handler changed it. So
    whatever else fails is tried once more at once, on a new one; an outcome (``further``) also
    waits until what fails does so no more, unless that is about its values.
    """
    renewed = False
    until = time.monotonic() + OUTCOME_SECONDS
    for pause in (*RECONNECT_DELAYS, *further):
        try:
            return transaction_of_ours()
        except Error as error:
            if is_in_transaction() or is_about_data(error) or time.monotonic() > until:
                raise
            if not is_connection_lost(error):
                if renewed and not further:
                    raise
                renewed, pause = True, pause if renewed else 0.0  # noqa: PLW2901 at once
            facts = {"action": "database_lost"}
            logger.warning(
                "database connection lost; retrying in %s s: %s", pause, error, extra=facts
            )
            with suppress(Exception):
                pooling.replace_lost()
            time.sleep(pause)
    return transaction_of_ours()


def _execute_claimed(step: StepRun, budget: InPlaceBudget) -> tuple[str, StepRun | None]:
    """Return what came of it, and the next step where it is claimed already."""
    try:
        refuse_newer(step.run)
        saga = saga_of(step.run, step)
        definition = definition_of(step.run, step)
        handler = _handler(definition, step)
    except (NewerVersion, UnknownHandler, UnknownSaga) as error:
        advance.postpone(step, error)
        return error.code, None
    with leases.renewing_lease(step) as lease:
        attempt = _attempt_of(definition)(
            step=step,
            saga_class=saga,
            definition=definition,
            handler=handler,
            lease=lease,
            insist=retry_on_lost_connection,
        )
        run = _run_atomic if attempt.is_atomic else _run
        try:
            ended, recorded = run(attempt, budget)
        except (SystemExit, KeyboardInterrupt):
            # The process ends, and with it the attempt: let it be missed sooner than its lease says.
            with suppress(Exception):
                transitions.shorten_lease(step.pk, step.fence)
            raise
    return ended.word if recorded else "late", recorded.taken


def _attempt_of(definition: StepDefinition) -> type[Attempt]:
    return ReactionAttempt if definition.is_reaction else Attempt


def _handler(definition: StepDefinition, step: StepRun) -> Any:
    """Return what runs the step: the definition itself, or its compensation's."""
    if step.is_reconciling and definition.reconcile is None:
        message = f"step {step.name!r} of {step.run.label} has no reconcile in this code"
        raise UnknownHandler(message)
    if not step.is_backward:
        return definition
    if definition.compensation is None:
        message = f"step {step.name!r} of {step.run.label} has no compensation in this code"
        raise UnknownHandler(message)
    return definition.compensation


def _run(attempt: Attempt, budget: InPlaceBudget) -> tuple[Ended, Recorded]:
    ended = attempt.make()
    return _record(attempt.step, ended, budget.claimant())


def _run_atomic(attempt: Attempt, budget: InPlaceBudget) -> tuple[Ended, Recorded]:
    """Effect, outcome and successor in one transaction: all of them happen, or none."""
    database = saga_database()
    recorded = Recorded(won=False)
    ended: Ended = GivenUp()
    try:
        with read_committed(database):
            ended = attempt.make()
            if not isinstance(ended, Failed | Misfit | GivenUp):
                recorded = advance.record_outcome(attempt.step, ended, budget.claimant())
                if recorded and attempt.computed_input:
                    transitions.keep_input(attempt.step)
            if not recorded:
                transaction.set_rollback(True, using=database)
    except DatabaseError as error:  # the commit failed
        recorded, ended = Recorded(won=False), classify(error, attempt.handler)
    if recorded:
        return ended, recorded
    if attempt.computed_input:
        retry_on_lost_connection(partial(transitions.keep_input, attempt.step))
    return _record(attempt.step, _rolled_back(ended))


def _rolled_back(ended: Ended) -> Ended:
    """Nothing was written, so nothing is in doubt, unless the handler committed by itself."""
    if isinstance(ended, Misfit):
        return ended
    if isinstance(ended, Failed):
        return replace(ended, in_doubt=ended.code == TransactionLeftOpen.code)
    return Failed(code="ROLLED_BACK", error="the attempt was abandoned before it could commit")


def _record(
    step: StepRun, ended: Ended, claimant: Claimant | None = None
) -> tuple[Ended, Recorded]:
    """Hand the outcome over, and wait for a database that is away: what happened must not be lost."""
    if isinstance(ended, GivenUp):
        return ended, Recorded(won=False)
    if isinstance(ended, Misfit):
        postpone = partial(advance.postpone, step, ended.error, in_doubt=ended.in_doubt)
        return ended, Recorded(won=retry_on_lost_connection(postpone, OUTCOME_RECONNECT_DELAYS))
    try:
        record = partial(advance.record_outcome, step, ended, claimant)
        return ended, retry_on_lost_connection(record, OUTCOME_RECONNECT_DELAYS)
    except Exception as error:
        if is_in_transaction() or is_connection_lost(error):
            raise
        logger.exception("outcome not recorded", extra={"action": "outcome_not_recorded"})
        failure = _unrecorded(ended, error)
        return failure, retry_on_lost_connection(
            partial(advance.record_outcome, step, failure), OUTCOME_RECONNECT_DELAYS
        )


def _unrecorded(outcome: Outcome, error: Exception) -> Failed:
    """Return what is recorded instead of an outcome that the database refuses.

    A success is in doubt, and tried again as one whose process was lost.
    """
    cause = type(error).__name__
    if outcome.failure:
        return replace(outcome.failure, code=cause, error="what it failed with cannot be recorded")
    error_text = f"the outcome, {outcome.word}, cannot be recorded"
    return Failed(code=cause, error=error_text, retryable=True, in_doubt=True)
