"""The engine's functions, wrapped by name, so that it reaches the boundaries of the matrix.

A name that is gone fails at the start of the worker: no case may pass because nothing was wrapped.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from sagas.definitions import StepDefinition
from sagas.engine import advance, deadlines, dispatch, execute, recover, transitions
from sagas.engine.database import saga_database
from sagas.engine.transitions import Succession
from sagas.exceptions import ActionNotAllowed, UnknownHandler
from sagas.models import SagaRun, StepRun
from sagas.operations import answering, cancel_saga, skip_step
from tests.faults.crashes.points import Boundary, Place, reach


Locate = Callable[..., Place | None]


class _Current:
    """The step at whose attempt or answer this process is: the pool's children run one at a time."""

    place: Place | None = None


def wrap_engine() -> None:
    """Wrap what a worker does between a message and the next one."""
    _wrap(transitions, "claim", _of_id, Boundary.BEFORE_CLAIM, None)
    _wrap(advance, "record_outcome", _of_step, Boundary.BEFORE_OUTCOME, Boundary.AFTER_OUTCOME)
    _wrap(transitions, "end_attempt", _of_second, None, Boundary.IN_OUTCOME)
    _wrap(transitions, "begin_wait", _of_second, None, Boundary.IN_OUTCOME)
    _commit_later()
    _wrap(answering, "deliver_answer", _of_answered, Boundary.BEFORE_ANSWER, Boundary.IN_ANSWER)
    _wrap(dispatch._Outbox, "send", _of_current, Boundary.BEFORE_SEND, Boundary.AFTER_SEND)
    _wrap(recover, "suspect", _of_id, Boundary.BEFORE_ERROR_DOOR, Boundary.AFTER_ERROR_DOOR)
    _wrap(recover, "resend", _of_id, Boundary.BEFORE_SUCCESS_DOOR, Boundary.AFTER_SUCCESS_DOOR)
    _wrap(
        advance, "end_lost_attempt", _of_step, Boundary.BEFORE_GIVING_UP, Boundary.AFTER_GIVING_UP
    )
    _wrap(dispatch, "send", _of_second, Boundary.BEFORE_RESEND, Boundary.AFTER_RESEND)
    _wrap(deadlines, "end", _of_best_effort, Boundary.BEFORE_DEADLINE, Boundary.IN_DEADLINE)
    _skip_what_is_lost()
    _lose_handlers()
    _follow_attempts()


def _wrap(
    owner: Any, name: str, locate: Locate, before: Boundary | None, after: Boundary | None
) -> None:
    inner = getattr(owner, name)

    @wraps(inner)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        place = locate(*args, **kwargs)
        if before:
            reach(before, place)
        result = inner(*args, **kwargs)
        if after:
            reach(after, place)
        return result

    setattr(owner, name, wrapped)


def _commit_later() -> None:
    """A success that is one statement is written, and not committed, for a moment as well."""
    inner = transitions.succeed

    @wraps(inner)
    def wrapped(
        step: StepRun, output: object, claimant: transitions.Claimant | None
    ) -> Succession | None:
        with transaction.atomic(using=saga_database()):
            following = inner(step, output, claimant)
            if following is not None:
                reach(Boundary.IN_OUTCOME, _of_step(step))
        return following

    transitions.succeed = wrapped


def _follow_attempts() -> None:
    inner = execute._execute_claimed

    @wraps(inner)
    def wrapped(step: StepRun, budget: execute.InPlaceBudget) -> tuple[str, StepRun | None]:
        _Current.place = _of_step(step)
        reach(Boundary.AFTER_CLAIM, _Current.place)
        try:
            return inner(step, budget)
        finally:
            _Current.place = None

    execute._execute_claimed = wrapped


def _lose_handlers() -> None:
    inner = execute._handler

    @wraps(inner)
    def wrapped(definition: StepDefinition, step: StepRun) -> Any:
        try:
            reach(Boundary.IN_LOOKUP, _of_step(step))
        except UnknownHandler:
            with suppress(ActionNotAllowed):
                cancel_saga(step.run, reason="in the middle of a deploy")
            raise
        return inner(definition, step)

    execute._handler = wrapped


def _skip_what_is_lost() -> None:
    """An operator who is faster than the next attempt, where the saga's input asks for one."""
    inner = advance.end_lost_attempt

    @wraps(inner)
    def wrapped(step: StepRun, only_if: Q | None = None) -> bool:
        run = SagaRun.objects.get(pk=step.run_id)
        if not (run.input or {}).get("skips") or (step.name, step.is_backward) != ("third", False):
            return inner(step, only_if)
        with transaction.atomic(using=saga_database()):
            won = inner(step, only_if)
            with suppress(ActionNotAllowed):
                skip_step(run, step.name, reason="it is not wanted any more")
        return won

    advance.end_lost_attempt = wrapped


def _of_best_effort(change: transitions.RunChange, *_: Any) -> Place:
    return Place(run_id=change.run.pk, step="extra")


def _of_step(step: StepRun, *_: Any, **__: Any) -> Place:
    return Place(run_id=step.run_id, step=step.name, direction=step.direction)


def _of_second(_: Any, step: StepRun, *__: Any, **___: Any) -> Place:
    return _of_step(step)


def _of_answered(_: Any, step: StepRun, *__: Any, **___: Any) -> Place:
    _Current.place = _of_step(step)  # for the message that its commit sends
    return _Current.place


def _of_id(step_id: UUID, *_: Any, **__: Any) -> Place | None:
    step = StepRun.objects.filter(pk=step_id).only("run_id", "name", "direction").first()
    return None if step is None else _of_step(step)


def _of_current(*_: Any, **__: Any) -> Place | None:
    return _Current.place
