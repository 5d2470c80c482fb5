"""An attempt of a reaction: it is given an event, and what it publishes comes with its outcome."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sagas.choreography import PublishedEvent, ReactionDefinition, collecting
from sagas.definitions import Saga
from sagas.engine.attempt import Attempt, Ended
from sagas.engine.decisions import Failed, Succeeded, Waiting
from sagas.engine.failures import failed
from sagas.engine.handler_context import RowInvocation
from sagas.exceptions import EventsBeforeWait, FailureEvent, SagaError


@dataclass(kw_only=True)
class ReactionAttempt(Attempt):
    """An attempt of a reaction, of its reconcile, or of its compensation, which publishes nothing."""

    definition: ReactionDefinition

    def _prepare(self) -> tuple[RowInvocation, Saga[Any]]:
        invocation = RowInvocation(self.step, self.lease, atomic=self.is_atomic)
        return invocation, self.definition.received(invocation.carried, invocation)

    def _handle(self, invocation: RowInvocation, handler: Callable[[], object]) -> Ended:
        if self.step.is_backward:
            return super()._handle(invocation, handler)
        raised: list[SagaError] = []

        def watched() -> object:
            try:
                return handler()
            except SagaError as error:
                raised.append(error)
                raise

        with collecting(self.step.run) as collected:
            ended = super()._handle(invocation, watched)
        if isinstance(ended, Succeeded):
            return replace(ended, published=tuple(collected.events))
        if isinstance(ended, Waiting) and collected.events:
            return failed(EventsBeforeWait(), in_doubt=True)
        if isinstance(ended, Failed) and raised:
            return _failed(ended, raised[0], refused=raised[0] is collected.refused)
        return ended


def _failed(ended: Failed, error: SagaError, *, refused: bool) -> Failed:
    """``refused``: it could not publish, which says nothing of what it did before."""
    if refused:
        return replace(ended, in_doubt=True)
    return _told(ended, error) if isinstance(error, FailureEvent) else ended


def _told(ended: Failed, failure: FailureEvent) -> Failed:
    """Add the event of a failure; one that cannot be stored is told of in the error."""
    try:
        event = PublishedEvent.checked(failure.event, failure.data)
    except SagaError as error:
        return replace(ended, error=f"{ended.error} ({error})")
    return replace(ended, published=(event,))
