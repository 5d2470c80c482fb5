"""One attempt, phase by phase: what it needs, its condition, its handler, and what that returned.

Before the handler is called nothing can have happened, so nothing that goes wrong until then is a
doubt. Once it was called the step may have happened. Then a result and a definite failure are the
handler's own word; and what goes wrong in this package afterwards, such as a result that cannot be
stored, leaves doubt.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from sagas.definitions import Approval, Saga, StepDefinition
from sagas.engine import pooling, soft_limit, start, surroundings, transitions
from sagas.engine.decisions import (
    DidNotHappen,
    Failed,
    Outcome,
    Skipped,
    Succeeded,
    Waiting,
    WaitingForApproval,
    WaitingForChild,
    WaitingForTask,
)
from sagas.engine.declared import load_input
from sagas.engine.failures import classify, ends_the_process, failed
from sagas.engine.handler_context import RowInvocation
from sagas.engine.leases import Lease
from sagas.engine.remote_calls import RemoteWait
from sagas.exceptions import (
    AlreadyUndone,
    SagaError,
    TransactionLeftOpen,
    UnknownHandler,
    Wait,
    WaitInAtomicStep,
)
from sagas.models import StepRun
from sagas.payloads import truncate_error


logger = logging.getLogger("sagas.execute")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """What is stored does not fit the code of this deployment: another one's may, so the step waits."""

    error: SagaError
    in_doubt: bool = False

    @property
    def word(self) -> str:
        """As an outcome has one."""
        return self.error.code


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """The attempt was given up before its handler began."""

    word = "late"


Ended = Outcome | Misfit | GivenUp


@dataclass(kw_only=True)
class Attempt:
    """An attempt of a claimed step."""

    step: StepRun
    saga_class: type[Saga[Any]]
    definition: StepDefinition
    handler: Any
    """The definition again, or its compensation's."""

    lease: Lease
    insist: Callable[[Callable[[], Any]], Any]
    """Calls a short transaction, again where its connection was lost."""

    computed_input: bool = False
    """Whether this attempt asked what the step is given."""

    @property
    def is_atomic(self) -> bool:
        """Whether what it does is written in the transaction of its outcome."""
        return bool(self.handler.atomic) and not self.step.is_reconciling

    def make(self) -> Ended:
        """Go through the phases; return how it ended."""
        try:
            invocation, saga = self.insist(self._prepare)
        except SagaError as error:
            return Misfit(error=error)
        except Exception as error:  # noqa: BLE001 whatever user code raises is an outcome
            return self._not_begun(error)
        ended = self._settle(invocation, saga) or self._begin(invocation, saga)
        self.lease.leave_handler()
        return ended

    def _prepare(self) -> tuple[RowInvocation, Saga[Any]]:
        step = self.step
        if step.plan.computes_input and self.definition.inputs is None:
            raise UnknownHandler(
                f"{self._what} has no inputs in this code, and had when it was planned"
            )
        value = load_input(step.run, step)
        invocation = RowInvocation(step, self.lease, atomic=self.is_atomic)
        return invocation, self.saga_class(value, invocation=invocation)

    def _settle(self, invocation: RowInvocation, saga: Saga[Any]) -> Ended | None:
        """Ask whether it runs, and what it is given: once, before its first attempt begins.

        Later ones must not be told of their own effect.
        """
        is_forward = not (self.step.is_backward or self.step.is_reconciling)
        asks = self.definition.condition is not None or self._inputs is not None
        if not asks or not is_forward or self.step.prepared:
            return None
        try:
            met = self._call(partial(self._ask, saga))
        except BaseException as error:
            if invocation.misfit is not None and error is invocation.misfit:
                return Misfit(error=invocation.misfit)
            if ends_the_process(error):
                raise
            return self._not_begun(error)
        if not met:
            return Skipped()
        kept = self.is_atomic or self.insist(partial(transitions.keep_prepared, self.step))
        return None if kept else GivenUp()

    def _ask(self, saga: Saga[Any]) -> bool:
        condition, takes_input = self.definition.condition, self.definition.condition_takes_input
        if condition is not None and not takes_input and not condition(saga):
            return False
        if self._inputs is not None:
            value = self._inputs(saga)
            codec = self.definition.input_codec
            self.step.input = codec.dump(value, what=f"the input of {self._what}")
            self.computed_input = True
        return condition is None or not takes_input or bool(condition(saga, *self._given()))

    @property
    def _inputs(self) -> Callable[[Any], object] | None:
        return None if self.step.plan.bound else self.definition.inputs

    def _given(self) -> tuple[Any]:
        """Return what a handler takes besides the saga, if it takes the step's input."""
        what = f"the input of {self._what}"
        if not (self.step.plan.bound or self.step.prepared or self.computed_input):
            raise UnknownHandler(f"{what} is not known in its row, and this code wants one")
        return (self.definition.input_codec.load(self.step.input, what=what),)

    @property
    def _what(self) -> str:
        return f"{self.step.name} of {self.step.run.label}"

    def _not_begun(self, error: BaseException) -> Failed:
        logger.warning("attempt not begun", exc_info=error, extra={"action": "attempt_failed"})
        return replace(classify(error, self.handler), in_doubt=False)

    def _begin(self, invocation: RowInvocation, saga: Saga[Any]) -> Ended:
        if self.definition.child is not None:
            return self._begin_child(invocation, saga)
        try:
            handler = self._handler(saga)
        except SagaError as error:
            return Misfit(error=error)
        return self._handle(invocation, handler)

    def _handle(self, invocation: RowInvocation, handler: Callable[[], object]) -> Ended:
        try:
            result = self._call(handler)
        except Wait as wait:
            if self.is_atomic:
                return failed(WaitInAtomicStep())
            return self._waiting(wait)
        except BaseException as error:
            if invocation.misfit is not None and error is invocation.misfit:
                return Misfit(error=invocation.misfit, in_doubt=not self.is_atomic)
            if ends_the_process(error):
                raise
            logger.warning("attempt failed", exc_info=error, extra={"action": "attempt_failed"})
            if error is invocation.refused or isinstance(error, TransactionLeftOpen):
                return failed(error, in_doubt=True)
            return classify(error, self.handler)
        return self._returned(result)

    def _waiting(self, wait: Wait) -> Waiting:
        if isinstance(wait, RemoteWait):
            was_in_doubt = self.step.in_doubt
            return WaitingForTask(timeout=wait.timeout, note=str(wait), was_in_doubt=was_in_doubt)
        return _waiting(wait)

    def _handler(self, saga: Saga[Any]) -> Callable[[], object]:
        """Return what is to be called, with all that it takes."""
        definition = self.definition
        if self.step.is_reconciling and definition.reconcile is not None:
            given = self._given() if definition.reconcile_takes_input else ()
            return partial(definition.reconcile, saga, *given)
        if self.step.is_backward:
            return partial(self._undo, saga)
        return partial(definition.handler, saga, *(self._given() if definition.takes_input else ()))

    def _undo(self, saga: Saga[Any]) -> None:
        with suppress(AlreadyUndone):
            self.handler.handler(saga, saga.undoing.result)

    def _call(self, user_code: Callable[[], T]) -> T:
        def interruptible() -> T:
            with soft_limit.interrupts():
                return user_code()

        pooling.give_back()
        return surroundings.kept(interruptible, of=str(self.step))

    def _returned(self, result: object) -> Outcome:
        """Make an outcome of a result. The handler ran to its end, so failing here leaves doubt."""
        if self.step.is_backward and not self.step.is_reconciling:
            return Succeeded(output=None)
        if self.step.is_reconciling and result is None:
            return DidNotHappen()
        what = f"the result of {self._what}"
        try:
            return Succeeded(output=self.definition.result_codec.dump(result, what=what))
        except Exception as error:  # the type's own code may raise whatever it likes
            logger.warning("%s", error, exc_info=True, extra={"action": "result_not_stored"})
            return failed(error, in_doubt=True)

    def _begin_child(self, invocation: RowInvocation, saga: Saga[Any]) -> Ended:
        """Ask for the child's input. Nothing has happened by then, whatever goes wrong."""
        if self.step.is_backward:
            return WaitingForChild()
        try:
            given = self._call(partial(self.definition.handler, saga))
            planned = start.planned_child(self.definition.child, given, of=self.step)
        except BaseException as error:
            if invocation.misfit is not None and error is invocation.misfit:
                return Misfit(error=invocation.misfit)
            if ends_the_process(error):
                raise
            return self._not_begun(error)
        note = f"the saga {self.definition.child.definition.label}"
        return WaitingForChild(child=planned, awaited=self.definition.awaits_child, note=note)


def _waiting(wait: Wait) -> Waiting:
    note = truncate_error(str(wait))
    if not isinstance(wait, Approval):
        return Waiting(timeout=wait.timeout, note=note)
    return WaitingForApproval(
        timeout=wait.timeout,
        note=note,
        permission=wait.permission,
        four_eyes=wait.four_eyes,
        remind_after=wait.remind_after,
    )
