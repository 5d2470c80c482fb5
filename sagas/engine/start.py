"""Start a saga: validate, plan, persist; send the first messages when the caller commits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import groupby, repeat
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async

from sagas.conf import saga_settings
from sagas.definitions import Plan, Saga, SagaDefinition, registry
from sagas.engine import dispatch, transitions
from sagas.engine.database import saga_database
from sagas.engine.declared import refuse_newer
from sagas.engine.isolation import read_committed
from sagas.engine.transitions import InsertedRun, NewRun
from sagas.exceptions import (
    IdempotencyRequired,
    NewerVersion,
    PayloadError,
    SagaConflict,
    SagaDefinitionError,
    SagaError,
)
from sagas.models import SagaRun, StepRun
from sagas.models.identifiers import uuid7s
from sagas.payloads import check_tags
from sagas.texts import require_storable


InputT = TypeVar("InputT")

KEY_LENGTH = 200

BATCH = 200
"""How many runs are inserted by one statement."""


@overload
def start_saga(
    saga: type[Saga[InputT]],
    input: InputT,
    *,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> SagaRun: ...
@overload
def start_saga(
    saga: str,
    input: Mapping[str, object],
    *,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> SagaRun: ...
def start_saga(
    saga: type[Saga[Any]] | str,
    input: Any,  # noqa: A002
    *,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> SagaRun:
    """Start a saga inside the caller's transaction: both are committed, or neither.

    ``saga`` is the class with a value of its input type, or a label with that input as plain data.
    ``key`` is the idempotency key of the whole saga (default: ``Meta.key`` filled from the input):
    a second call with the same key and input returns the run of the first, ``run.created`` False; so
    does one with the input that the run had before a rewind.
    Returns at once; workers do the rest. Never fails because of the broker.

    A key stays taken when its saga was undone: a second call returns that run, ``run.created``
    False and ``run.outcome`` ``"failed"`` or ``"cancelled"``. To try the same business again is
    another saga, whose key says so: ``"order-42/2"`` (``docs/idempotency.md``).

    Two callers that start the same keys wait for each other. To start many in one transaction use
    :func:`start_sagas`, which takes the keys in one order; calls in a loop need an order of their own,
    or PostgreSQL ends one of two such transactions as a deadlock (``OperationalError``).

    Raises:
        UnknownSaga: no saga has this label.
        SagaDefinitionError: the saga is declared wrongly, or has no steps; as a ``PlanError`` when what
            its ``plan()`` yields for this input cannot be a run of it.
        PayloadError, PayloadTooLarge: the input does not fit its type or the limit, or the key or
            a tag is no text that can be stored.
        IdempotencyRequired: neither ``key`` nor ``Meta.key``.
        SagaConflict: the key is taken by a run with another input, or one of another version of the
            saga that cannot be compared.
    """
    definition = _definition(saga)
    plan, new_run = _new_run(definition, input, key, tags, from_data=isinstance(saga, str))
    ((run, steps),) = transitions.insert_runs(plan, [new_run], grace=_first_grace())
    _require_same_input(definition, run, new_run)
    dispatch.send_on_commit(run, steps)
    return run


def plan_of(saga: type[Saga[Any]] | str, input: Any) -> Plan:  # noqa: A002
    """Return what a run with this input would be inserted by. Writes nothing.

    Raises:
        UnknownSaga, SagaDefinitionError, PayloadError: as :func:`start_saga`.
    """
    definition = _definition(saga)
    _, value = _normalise(definition, input, from_data=isinstance(saga, str))
    return definition.plan_for(value)


astart_saga = sync_to_async(start_saga, thread_sensitive=True)
"""The same for async callers. Transactions are synchronous in Django: it joins none of theirs."""


@overload
def start_sagas(
    saga: type[Saga[InputT]],
    inputs: Sequence[InputT],
    *,
    keys: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[SagaRun]: ...
@overload
def start_sagas(
    saga: str,
    inputs: Sequence[Mapping[str, object]],
    *,
    keys: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[SagaRun]: ...
def start_sagas(
    saga: type[Saga[Any]] | str,
    inputs: Sequence[Any],
    *,
    keys: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[SagaRun]:
    """Start many sagas of one kind in one transaction: all of them, or none.

    As so many calls of :func:`start_saga`, with rows in bulk and the messages through one producer,
    pipelined where the broker's transport can. ``keys`` has one for each input; ``tags`` are for
    all. Returns the runs in the order of ``inputs``; one whose key was there before, or stands
    earlier in ``keys``, has ``created`` False. Callers with the same keys in any order wait for each
    other, and do not end in a deadlock.

    Raises:
        ValueError: ``keys`` has another length than ``inputs``.
        SagaError: what :func:`start_saga` raises, for the first input that cannot be started. The
            message begins with its place and ``error.index`` has it; nothing is written.
    """
    definition = _definition(saga)
    from_data = isinstance(saga, str)
    plans, new_runs = [], []
    for index, (value, key) in enumerate(
        zip(inputs, keys or repeat(None, len(inputs)), strict=True)
    ):
        with _naming(index):
            plan, new_run = _new_run(definition, value, key, tags, from_data=from_data)
        plans.append(plan)
        new_runs.append(new_run)
    with read_committed(saga_database()):
        inserted_runs = _insert(plans, new_runs)
        for index, ((run, _), new_run) in enumerate(zip(inserted_runs, new_runs, strict=True)):
            with _naming(index):
                _require_same_input(definition, run, new_run)
        dispatch.send_all_on_commit(inserted_runs)
    return [run for run, _ in inserted_runs]


def planned_child(saga: type[Saga[Any]], given: object, *, of: StepRun) -> tuple[Plan, NewRun]:
    """Return the run that a step starts as its child, not inserted yet; it has the tags of its parent too.

    Raises:
        SagaDefinitionError, PayloadError, PayloadTooLarge: as for :func:`start_saga`.
    """
    definition = _definition(saga)
    plan, new = _new_run(definition, given, of.idempotency_key, None, from_data=False)
    tags = {**of.run.tags, **new.tags}
    check_tags(tags, what=f"the tags of {definition.label}")
    return plan, replace(new, tags=tags)


def _definition(saga: type[Saga[Any]] | str) -> SagaDefinition:
    definition = (registry.get(saga) if isinstance(saga, str) else saga).definition
    if definition.is_of_event:
        message = (
            f"{definition.label} is what reacts to an event: publish it instead of starting it."
        )
        raise SagaDefinitionError(message)
    for problem in definition.problems():
        if problem.is_error:
            message = f"{problem.message} {problem.hint}"
            raise SagaDefinitionError(message)
    return definition


def _new_run(
    definition: SagaDefinition,
    given: Any,
    key: str | None,
    tags: Mapping[str, str] | None,
    *,
    from_data: bool,
) -> tuple[Plan, NewRun]:
    """Return the plan of a new run, and what it has of its own, not inserted yet."""
    data, value = _normalise(definition, given, from_data=from_data)
    plan = definition.plan_for(value)
    run_id, *step_ids = uuid7s(1 + len(plan.steps))
    return plan, NewRun(
        id=run_id,
        step_ids=step_ids,
        key=_key(definition, value, key),
        input=data,
        tags=_tags(definition, value, tags),
    )


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """Have an error say which input it is about."""
    try:
        yield
    except SagaError as error:
        raise type(error)(f"inputs[{index}]: {error}", **error.facts, index=index) from error


def _insert(plans: Sequence[Plan], new_runs: Sequence[NewRun]) -> list[InsertedRun]:
    """Insert in the order of the keys: two callers with the same ones wait, and neither for ever."""
    places = sorted(range(len(new_runs)), key=lambda place: new_runs[place].key)
    inserted_runs: dict[int, InsertedRun] = {}
    for plan, alike in groupby(places, key=lambda place: plans[place]):
        for batch in _batches(list(alike)):
            inserted = transitions.insert_runs(
                plan, [new_runs[place] for place in batch], grace=_first_grace()
            )
            inserted_runs |= zip(batch, inserted, strict=True)
    return [inserted_runs[place] for place in range(len(new_runs))]


def _batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(places), BATCH):
        yield places[first : first + BATCH]


def _require_same_input(definition: SagaDefinition, stored: SagaRun, new_run: NewRun) -> None:
    why_not = _another_input(definition, stored, new_run)
    if why_not:
        label, key = stored.label, new_run.key
        message = f"a {label} with key {key!r} exists {why_not}"
        raise SagaConflict(message, run_id=stored.pk, label=label, key=key)


def _another_input(definition: SagaDefinition, stored: SagaRun, new_run: NewRun) -> str:
    """Say what keeps the stored input from being that of the new run; nothing if it is the same."""
    # One that was rewound had others before, and the caller may not know of the correction.
    before = [(rewind["input"], rewind["version"]) for rewind in stored.rewound]
    known = [(stored.input, stored.version), *before]
    if any(data == new_run.input for data, _ in known):
        return ""
    try:
        refuse_newer(stored)
        migrated = [definition.migrated(data, version=version) for data, version in known]
        same = any(definition.input_codec.same(data, new_run.input) for data in migrated)
    except (NewerVersion, PayloadError) as error:
        return f"with an input that this code cannot compare: {error}"
    return "" if same else "with another input; use another key"


def _normalise(definition: SagaDefinition, given: Any, *, from_data: bool) -> tuple[Any, Any]:
    what = f"the input of {definition.label}"
    codec = definition.input_codec
    value = codec.load(given) if from_data else given
    return codec.normalise(value, what=what)


def _key(definition: SagaDefinition, value: Any, key: str | None) -> str:
    if key is None:
        key = definition.key_for(value)
    key = require_storable(key, what=f"the key of {definition.label}", length=KEY_LENGTH)
    if not key.strip():
        raise IdempotencyRequired(location="transaction")
    return key


def _tags(definition: SagaDefinition, value: Any, tags: Mapping[str, str] | None) -> dict[str, str]:
    what = f"the tags of {definition.label}"
    if not isinstance(tags, Mapping | None):
        raise PayloadError(f"{what} must be a mapping of names to texts, not {type(tags).__name__}")
    merged = {**definition.tags_for(value), **(tags or {})}
    check_tags(merged, what=what)
    return merged


def _first_grace() -> timedelta:
    return timedelta(seconds=saga_settings().RESEND_SECONDS)
