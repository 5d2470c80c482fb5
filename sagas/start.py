"""Start a saga: validate, plan, persist; send the first messages when the caller commits."""

from collections.abc import Mapping
from datetime import timedelta
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
from sagas.states import Direction, StepState


InputT = TypeVar("InputT")

KEY_LENGTH = 200


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
    definition = (registry.get(saga) if isinstance(saga, str) else saga).definition
    _require_sound(definition)
    data, value = _normalise(definition, input, from_data=isinstance(saga, str))
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
    with transaction.atomic(using=saga_database(), savepoint=False):
        stored = transitions.insert_run(
            run, steps, timeout=definition.timeout, grace=_first_grace()
        )
        stored.created = stored.pk == run.pk
        if stored.created:
            ready = (step for step in steps if step.state == StepState.READY)
            dispatch.send_on_commit(stored, ready)
    if not definition.input_codec.same(stored.input, data):
        message = f"a {run.label} with key {run.key!r} exists with another input; use another key"
        raise SagaConflict(message, run_id=stored.pk, label=run.label, key=run.key)
    return stored


astart_saga = sync_to_async(start_saga, thread_sensitive=True)
"""The same for async callers. Transactions are synchronous in Django: it joins none of theirs."""


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


def _require_sound(definition: SagaDefinition) -> None:
    for problem in definition.problems():
        if problem.is_error:
            message = f"{problem.message} {problem.hint}"
            raise SagaDefinitionError(message)


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
