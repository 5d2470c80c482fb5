"""Start a saga: validate, plan, persist; send the first messages when the caller commits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import repeat
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db import transaction

from sagas import decisions, dispatch, transitions
from sagas.conf import saga_settings
from sagas.database import saga_database
from sagas.definitions import Saga, SagaDefinition, StepDefinition, registry
from sagas.exceptions import IdempotencyRequired, PayloadError, SagaConflict, SagaDefinitionError
from sagas.models import SagaRun, StepRun
from sagas.payloads import check_size
from sagas.states import Direction
from sagas.transitions import Birth


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
    a second call with the same key and input returns the run of the first, ``run.created`` False.
    Returns at once; workers do the rest. Never fails because of the broker.

    Raises:
        UnknownSaga: no saga has this label.
        SagaDefinitionError: the saga is declared wrongly, or has no steps.
        PayloadError, PayloadTooLarge: the input does not fit its type or the limit.
        IdempotencyRequired: neither ``key`` nor ``Meta.key``.
        SagaConflict: the key is taken by a run with another input.
    """
    definition = _definition(saga)
    birth = _birth(definition, input, key, tags, from_data=isinstance(saga, str))
    (run,) = transitions.insert_runs([birth], grace=_first_grace())
    _require_same_input(definition, run, birth.run)
    dispatch.send_on_commit(run, _ready(birth) if run.created else ())
    return run


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

    As so many calls of :func:`start_saga`, with rows in bulk and one connection to the broker for
    all messages. ``keys`` has one for each input; ``tags`` are for all. Returns the runs in the
    order of ``inputs``; one whose key was there before has ``created`` False.

    Raises:
        ValueError: ``keys`` has another length than ``inputs``.
        SagaError: what :func:`start_saga` raises, for the first input that cannot be started;
            nothing is written.
    """
    definition = _definition(saga)
    given = zip(inputs, keys or repeat(None, len(inputs)), strict=True)
    births = [
        _birth(definition, value, key, tags, from_data=isinstance(saga, str))
        for value, key in given
    ]
    with transaction.atomic(using=saga_database()):
        runs = [
            run
            for batch in _batches(births)
            for run in transitions.insert_runs(batch, grace=_first_grace())
        ]
        for run, birth in zip(runs, births, strict=True):
            _require_same_input(definition, run, birth.run)
        new = [birth for run, birth in zip(runs, births, strict=True) if run.created]
        dispatch.send_all_on_commit((birth.run, _ready(birth)) for birth in new)
    return runs


def _definition(saga: type[Saga[Any]] | str) -> SagaDefinition:
    definition = (registry.get(saga) if isinstance(saga, str) else saga).definition
    for problem in definition.problems():
        if problem.is_error:
            message = f"{problem.message} {problem.hint}"
            raise SagaDefinitionError(message)
    return definition


def _birth(
    definition: SagaDefinition,
    given: Any,
    key: str | None,
    tags: Mapping[str, str] | None,
    *,
    from_data: bool,
) -> Birth:
    """Return the rows of a new run, none inserted yet."""
    data, value = _normalise(definition, given, from_data=from_data)
    run = SagaRun(
        label=definition.label,
        version=definition.version,
        key=_key(definition, value, key),
        input=data,
        tags=_tags(definition, value, tags),
        options={
            "on_compensation_failure": definition.on_compensation_failure,
            "auto_retry": definition.auto_retry,
            "in_place": definition.in_place,
        },
    )
    steps = plan(definition, run)
    run.remaining = sum(not step.successors for step in steps)
    return Birth(run=run, steps=steps, timeout=definition.timeout)


def _ready(birth: Birth) -> list[StepRun]:
    return [step for step in birth.steps if step.blockers == 0]


def _batches(births: Sequence[Birth]) -> Iterator[Sequence[Birth]]:
    for first in range(0, len(births), BATCH):
        yield births[first : first + BATCH]


def _require_same_input(definition: SagaDefinition, stored: SagaRun, run: SagaRun) -> None:
    if not definition.input_codec.same(stored.input, run.input):
        message = f"a {run.label} with key {run.key!r} exists with another input; use another key"
        raise SagaConflict(message, run_id=stored.pk, label=run.label, key=run.key)


def plan(definition: SagaDefinition, run: SagaRun) -> list[StepRun]:
    """Return the forward rows of a new run, not inserted yet, linked by ``successors``."""
    rows = {step.name: _row(step, run, position) for position, step in enumerate(definition.steps)}
    for step in definition.steps:
        rows[step.name].blockers = len(step.after)
        for name in step.after:
            rows[name].successors.append(str(rows[step.name].pk))
    if definition.in_place:
        for name, following in definition.successors().items():
            rows[name].in_place = len(following) == 1 and decisions.may_go_on(
                definition.step(name).options, definition.step(following[0]).options
            )
    return list(rows.values())


def _row(step: StepDefinition, run: SagaRun, position: int) -> StepRun:
    options = step.options.snapshot()
    compensation = step.compensation
    if step.atomic:
        options["atomic"] = True
    if step.reconcile is not None:
        options["reconcile"] = True
    if compensation is not None:
        options["compensation"] = compensation.options.snapshot()
        if compensation.atomic:
            options["compensation"]["atomic"] = True
    return StepRun(
        run=run,
        name=step.name,
        direction=Direction.FORWARD,
        position=position,
        handler=step.name,
        compensation=compensation.name if compensation else "",
        pivot=step.pivot,
        critical=step.critical,
        options=options,
        timeout=None if step.options.timeout is None else timedelta(seconds=step.options.timeout),
        idempotency_key=f"{run.pk}:{step.name}",
    )


def _normalise(definition: SagaDefinition, given: Any, *, from_data: bool) -> tuple[Any, Any]:
    what = f"the input of {definition.label}"
    codec = definition.input_codec
    value = codec.load(given) if from_data else given
    return codec.normalise(value, what=what)


def _key(definition: SagaDefinition, value: Any, key: str | None) -> str:
    if key is None:
        key = definition.key_for(value)
    if not key.strip():
        raise IdempotencyRequired(location="transaction")
    if len(key) > KEY_LENGTH or "\x00" in key:
        message = f"the key of a saga is text of at most {KEY_LENGTH} characters, without NUL"
        raise PayloadError(message)
    return key


def _tags(definition: SagaDefinition, value: Any, tags: Mapping[str, str] | None) -> dict[str, str]:
    merged = {**definition.tags_for(value), **(tags or {})}
    if not all(isinstance(part, str) for pair in merged.items() for part in pair):
        message = f"the tags of {definition.label} must be text: name → text, not {merged!r}"
        raise PayloadError(message)
    check_size(merged, what=f"the tags of {definition.label}")
    return merged


def _first_grace() -> timedelta:
    return timedelta(seconds=saga_settings().RESEND_SECONDS)
