"""Publish an event: outside of a reaction it begins a trace, within one it is of that attempt."""

from collections.abc import Mapping
from datetime import timedelta

from sagas.choreography import PublishedEvent, collected_now, reaction_problems, subscribers
from sagas.conf import MAX_EXECUTION_DURATION, saga_settings
from sagas.definitions import Plan, RunPlan
from sagas.engine import dispatch, trace, transitions
from sagas.engine.database import saga_database
from sagas.engine.isolation import read_committed
from sagas.engine.transitions import NewRun
from sagas.exceptions import (
    IdempotencyRequired,
    PayloadError,
    SagaConflict,
    SagaDefinitionError,
)
from sagas.models import SagaRun
from sagas.models.identifiers import uuid7
from sagas.payloads import check_tags
from sagas.states import EventType, SagaState


def publish(
    event: str,
    data: object,
    *,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
    timeout: timedelta = MAX_EXECUTION_DURATION,
) -> SagaRun:
    """Publish an event with its data: whatever ``@on_event`` declares for it will react.

    **Outside of a reaction** it begins a trace, inside the caller's transaction: both are committed,
    or neither. ``key`` is required: a second event of this name and key returns the trace of the first,
    ``created`` False, and is handled once. The trace turns back when it has not ended in ``timeout``.

    **In a reaction** it is written with the success of the attempt, in one transaction, or never; it
    is of the trace of the reaction, whose ``tags`` and ``timeout`` it cannot change. Without ``key`` it
    is like no other event; with one, a second of this name and key in the trace is handled once.

    ``data`` is a dataclass, a pydantic model or plain data; it must fit what each reaction takes.
    Returns the trace, at once; workers do the rest. Never fails because of the broker.

    Raises:
        PayloadError, PayloadTooLarge: name, data, key or tags cannot be stored, or the data does not
            fit a reaction; nothing is published.
        IdempotencyRequired: no ``key``, outside of a reaction.
        SagaConflict: the key is taken by an event of this name with other data.
        SagaDefinitionError: a reaction to it is declared wrongly.
    """
    collected = collected_now()
    if collected is None:
        return _begin(_checked(event, data, key), tags or {}, timeout)
    with collected.refusing():
        if tags is not None or timeout is not MAX_EXECUTION_DURATION:
            raise PayloadError(f"the trace that {event} is of has its tags and its timeout already")
        collected.add(_checked(event, data, key))
    trace_of_attempt: SagaRun = collected.trace
    return trace_of_attempt


def _checked(event: str, data: object, key: str | None) -> PublishedEvent:
    published = PublishedEvent.checked(event, data, key="" if key is None else key)
    _check_reactions(published)
    return published


def _check_reactions(event: PublishedEvent) -> None:
    reacting = subscribers(event.name)
    if reacting is None:
        return
    for problem in (*reacting.definition.problems(), *reaction_problems(reacting)):
        if problem.is_error:
            message = f"{problem.message} {problem.hint}"
            raise SagaDefinitionError(message)
    for step in reacting.definition.steps:
        step.input_codec.load(event.data, what=f"the data of {event.name}, for {step.name},")


def _begin(event: PublishedEvent, tags: Mapping[str, str], timeout: timedelta) -> SagaRun:
    if not event.key.strip():
        message = f"the event {event.name} needs a key: publish({event.name!r}, data, key=...)"
        raise IdempotencyRequired(message, location="transaction")
    if timeout <= timedelta(0):
        raise PayloadError(f"the timeout of {event.name} must be a timedelta greater than 0")
    check_tags(tags, what=f"the tags of {event.name}")
    plan = Plan(
        label=event.label, version=1, options=RunPlan().snapshot(), timeout=timeout, steps=()
    )
    new_run = NewRun(id=uuid7(), step_ids=(), key=event.key, input=event.data, tags=tags)
    with read_committed(saga_database()):
        grace = timedelta(seconds=saga_settings().RESEND_SECONDS)
        ((run, _),) = transitions.insert_runs(plan, [new_run], grace=grace)
        if not run.created:
            _require_same_data(event, run)
            return run
        with transitions.change(run.pk) as change:
            trace.publish_in(change, [event])
            if not change.run.remaining:
                transitions.move_run(change, SagaState.COMPLETED, EventType.COMPLETED)
            dispatch.send_on_commit(change.run, change.made_ready)
    change.run.created = True
    return change.run


def _require_same_data(event: PublishedEvent, stored: SagaRun) -> None:
    reacting = subscribers(event.name)
    codecs = [step.input_codec for step in reacting.definition.steps] if reacting else []
    same = stored.input == event.data or any(
        codec.same(stored.input, event.data) for codec in codecs
    )
    if not same:
        message = f"an event {event.name} with key {event.key!r} exists with other data"
        raise SagaConflict(message, run_id=stored.pk, label=stored.label, key=event.key)
