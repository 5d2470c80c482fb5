"""Run one claimed step: claim, call the handler, hand over the outcome.

No Celery here: a step runs in the same way from a worker, from a test and from a shell. No
transaction is open while a handler talks to the outside, except for ``atomic`` steps, whose effect
is written in the transaction of their outcome.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, Error, connections, transaction

from sagas import advance, leases, transitions
from sagas.advance import Recorded
from sagas.conf import saga_settings
from sagas.database import is_connection_lost, is_in_transaction, saga_database
from sagas.decisions import Failed, NotHappened, Outcome, Skipped, Succeeded, Waiting
from sagas.definitions import Saga, SagaDefinition, StepDefinition, registry
from sagas.exceptions import (
    AlreadyUndone,
    OutcomeUnknown,
    PayloadError,
    PermanentError,
    SagaCancelled,
    SagaError,
    StepTimeout,
    UnknownHandler,
    UnknownSaga,
    Wait,
    WaitInAtomicStep,
)
from sagas.invocation import RowInvocation
from sagas.leases import Lease
from sagas.logs import saga_context
from sagas.models import StepRun
from sagas.payloads import truncate_error
from sagas.transitions import Claimant


logger = logging.getLogger("sagas.execute")
T = TypeVar("T")

PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between tries of a short transaction whose connection was lost."""

PATIENCE = (3.0,) * 100
"""Further ones for an outcome: what happened waits five minutes for a database to record it."""

Body = Callable[[], Outcome]


class Stint:
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
    ``"waiting"``, an error code, ``"late"`` when the attempt was given up meanwhile, or
    ``"not claimed"``.
    """
    stint = Stint(Claimant(task_id=task_id, worker=worker), in_place=in_place)
    step = insistently(partial(transitions.claim, step_id, fence, task_id=task_id, worker=worker))
    told = "not claimed"
    if step is None:
        logger.info("step not claimed", extra={"action": "not_claimed", "step_id": str(step_id)})
    while step is not None:
        with saga_context(saga_id=str(step.run_id), step=str(step)):
            told, step = _execute_claimed(step, stint)
    return told


def insistently(transaction_of_ours: Callable[[], T], further: Sequence[float] = ()) -> T:
    """Try a short transaction again on a new connection: it is guarded, so twice is as once."""
    for pause in (*PAUSES, *further):
        try:
            return transaction_of_ours()
        except Error as error:
            if is_in_transaction() or not is_connection_lost(error):
                raise
            facts = {"action": "database_lost"}
            logger.warning("database lost, again in %s s: %s", pause, error, extra=facts)
            connections[saga_database()].close()
            time.sleep(pause)
    return transaction_of_ours()


def _execute_claimed(step: StepRun, stint: Stint) -> tuple[str, StepRun | None]:
    """Return what came of it, and the next step where it is claimed already."""
    try:
        saga = registry.get(step.run.label)
        definition = saga.definition.step(step.name)
        handler = _handler(definition, step)
    except (UnknownHandler, UnknownSaga) as error:
        advance.postpone(step, error)
        return error.code, None
    with leases.kept_alive(step) as lease:
        body = _body(partial(_instance, step, saga, lease), step, definition, handler)
        run = _run_atomic if handler.atomic and not step.asking else _run
        outcome, recorded = run(step, body, handler, stint)
    return _told(outcome, recorded), recorded.taken


def _told(outcome: Outcome, recorded: Recorded) -> str:
    if not recorded:
        return "late"
    return outcome.code if isinstance(outcome, Failed) else type(outcome).__name__.lower()


def _handler(definition: StepDefinition, step: StepRun) -> Any:
    """Return what runs the step: the definition itself, or its compensation's."""
    if step.asking and definition.reconcile is None:
        message = f"step {step.name!r} of {step.run.label} has no reconcile in this code"
        raise UnknownHandler(message)
    if not step.is_backward:
        return definition
    if definition.compensation is None:
        message = f"step {step.name!r} of {step.run.label} has no compensation in this code"
        raise UnknownHandler(message)
    return definition.compensation


def _body(
    instance: Callable[[], Saga[Any]], step: StepRun, definition: StepDefinition, handler: Any
) -> Body:
    """Return the attempt as a call without arguments, which reads what it needs when it runs."""

    def ask() -> Outcome:
        found = definition.reconcile(instance())  # type: ignore[misc]  # asked only with one
        return NotHappened() if found is None else _succeeded(definition, found, step)

    def forward() -> Outcome:
        saga = instance()
        if definition.condition is not None and not definition.condition(saga):
            return Skipped()
        return _succeeded(definition, handler.handler(saga), step)

    def backward() -> Outcome:
        saga = instance()
        with suppress(AlreadyUndone):
            handler.handler(saga, saga.undoing.result)
        return Succeeded(output=None)

    if step.asking:
        return ask
    return backward if step.is_backward else forward


def _instance(step: StepRun, saga_class: type[Saga[Any]], lease: Lease) -> Saga[Any]:
    definition: SagaDefinition = saga_class.definition
    value = definition.input_codec.load(step.run.input)
    return saga_class(value, invocation=RowInvocation(step, definition, lease))


def _succeeded(definition: StepDefinition, result: object, step: StepRun) -> Outcome:
    what = f"the result of {step.name} of {step.run.label}"
    try:
        return Succeeded(output=definition.result_codec.dump(result, what=what))
    except PayloadError as error:
        # The handler ran to its end, so what it did outside is done.
        return _failed(error, doubtful=True)


def _run(step: StepRun, body: Body, handler: Any, stint: Stint) -> tuple[Outcome, Recorded]:
    outcome = _attempt(body, handler)
    record = partial(advance.record_outcome, step, outcome, stint.claimant())
    return outcome, insistently(record, PATIENCE)


def _run_atomic(step: StepRun, body: Body, handler: Any, stint: Stint) -> tuple[Outcome, Recorded]:
    """Effect, outcome and successor in one transaction: all of them happen, or none."""
    database = saga_database()
    recorded = Recorded(won=False)
    try:
        with transaction.atomic(using=database):
            outcome = _attempt(body, handler)
            if not isinstance(outcome, Failed):
                recorded = advance.record_outcome(step, outcome, stint.claimant())
            if not recorded:
                transaction.set_rollback(True, using=database)
    except DatabaseError as error:  # the commit failed
        recorded, outcome = Recorded(won=False), _classify(error, handler)
    if recorded:
        return outcome, recorded
    failure = _rolled_back(outcome)
    return failure, insistently(partial(advance.record_outcome, step, failure), PATIENCE)


def _rolled_back(outcome: Outcome) -> Failed:
    """Nothing was written, so nothing is in doubt."""
    if isinstance(outcome, Failed):
        return Failed(code=outcome.code, error=outcome.error, retryable=outcome.retryable)
    return Failed(code="ROLLED_BACK", error="the attempt was given up before it could commit")


def _attempt(body: Body, handler: Any) -> Outcome:
    try:
        return body()
    except Wait as wait:
        if handler.atomic:
            return _failed(WaitInAtomicStep())
        return Waiting(timeout=wait.timeout, note=truncate_error(str(wait)))
    except Exception as error:  # whatever user code raises is an outcome
        logger.warning("attempt failed", exc_info=True, extra={"action": "attempt_failed"})
        return _classify(error, handler)


def _classify(error: Exception, handler: Any) -> Failed:
    """Say what an exception means: whether to try again, and whether the effect may have happened."""
    if isinstance(error, PermanentError):
        return _failed(error)
    if isinstance(error, OutcomeUnknown | SagaCancelled):
        return _failed(error, doubtful=True)
    if isinstance(error, SoftTimeLimitExceeded):
        limit = handler.options.soft_time_limit
        timeout = StepTimeout(f"the soft time limit of {limit} s was reached")
        return _failed(timeout, retryable=True, doubtful=True)
    options = handler.options
    if is_connection_lost(error) and not isinstance(error, options.dont_autoretry_for):
        return _failed(error, retryable=True, doubtful=True)
    retryable = isinstance(error, options.autoretry_for) and not isinstance(
        error, options.dont_autoretry_for
    )
    return _failed(error, retryable=retryable, doubtful=retryable)


def _failed(error: Exception, *, retryable: bool = False, doubtful: bool = False) -> Failed:
    code = error.code if isinstance(error, SagaError) else type(error).__name__
    text = str(error) or type(error).__name__
    return Failed(
        code=code[:100], error=truncate_error(text), retryable=retryable, doubtful=doubtful
    )
