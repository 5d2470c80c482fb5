"""Every failure that a saga can meet, one at a time, each from the same beginning."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from django.db import transaction

from sagas.definitions import Saga, SagaDefinition, StepDefinition
from sagas.engine import dispatch
from sagas.engine.database import saga_database
from sagas.engine.start import start_saga
from sagas.exceptions import OutcomeUnknown
from sagas.models import SagaRun
from sagas.operations import compensate_saga, retry_saga
from sagas.states import SagaState
from sagas.testing.failing import Failure, fail_at
from sagas.testing.running import run_saga


I = TypeVar("I")  # noqa: E741 the input's type

Check = Callable[[SagaRun], object]


class Crash(StrEnum):
    """How a step goes wrong."""

    BEFORE_EFFECT = "fails before its effect"
    """A definite failure: nothing happened."""

    AFTER_EFFECT = "fails after its effect"
    """It happened, and the outcome is unknown: nobody heard that it did."""

    UNDONE_TWICE = "is undone after its compensation failed once"
    """The saga turns back, and the connection is lost after the effect of the compensation."""


@dataclass(frozen=True, kw_only=True)
class CrashResult:
    """A run that met a crash point, when nothing of it was ready any more."""

    run: SagaRun
    reached: bool
    """False: the saga never came there, because of a condition for example."""


@dataclass(frozen=True, kw_only=True)
class CrashPoint(Generic[I]):
    """One step of a saga, and how it goes wrong. As text: a sentence, good for the id of a test."""

    saga: type[Saga[I]]
    step: str
    crash: Crash

    def __str__(self) -> str:
        return f"{self.step} {self.crash}"

    @contextmanager
    def play(
        self,
        input: I,  # noqa: A002 the word of the contract
        *,
        start: Callable[[I], SagaRun] | None = None,
    ) -> Iterator[CrashResult]:
        """Run a saga that meets this; look at it inside the block, whose end takes all rows back.

        ``start`` starts it, if ``start_saga(saga, input)`` is not enough. Only the database of the
        sagas is taken back; what handlers did elsewhere stays, unless the test undoes it.

        Raises:
            ValueError: ``start`` returned the run of another saga, or one that has ended.
        """
        begin = start or self._start
        everything = transaction.atomic(using=saga_database())
        # What Django's TestCase says of its own: a durable block may be opened inside.
        everything._from_testcase = True  # type: ignore[attr-defined]  # noqa: SLF001
        with dispatch.nothing_is_sent(), everything:
            with self._failing() as failure, self._turning_back():
                run = run_saga(self._ours(begin(input)))
                if self.crash == Crash.UNDONE_TWICE and run.is_completed:
                    reason = "to see it undone"
                    reverted = compensate_saga(run, reason=reason, revert_completed=True)
                    run = run_saga(reverted)
            yield CrashResult(run=run, reached=bool(failure.times))
            transaction.set_rollback(True, using=saga_database())

    def _ours(self, run: SagaRun) -> SagaRun:
        label = self.saga.definition.label
        if run.label != label or run.is_final:
            raise ValueError(f"start= must start a new {label}, not {run.explain()}")
        return run

    def _start(self, given: I) -> SagaRun:
        key = None if self.saga.definition.key_template else "explored"
        return start_saga(self.saga, given, key=key)

    def _failing(self) -> AbstractContextManager[Failure]:
        if self.crash == Crash.BEFORE_EFFECT:
            return fail_at(self.saga, self.step)
        if self.crash == Crash.AFTER_EFFECT:
            lost = OutcomeUnknown(f"a test loses the outcome of {self.step}")
            return fail_at(self.saga, self.step, error=lost, after_effect=True)
        undo = self.saga.definition.step(self.step).compensation
        assert undo is not None  # noqa: S101 crash_points() names such steps only
        lost_connection = ConnectionError(f"a test lets {undo.name} fail once")
        return fail_at(self.saga, undo.name, error=lost_connection, after_effect=True, times=1)

    @contextmanager
    def _turning_back(self) -> Iterator[None]:
        """Let the points of no return fail, if the way back is what is looked at."""
        with ExitStack() as stack:
            for step in self.saga.definition.steps:
                if step.pivot and self.crash == Crash.UNDONE_TWICE:
                    stack.enter_context(fail_at(self.saga, step.name))
            yield


def crash_points(saga: type[Saga[I]]) -> list[CrashPoint[I]]:
    """Return every way in which every step of a saga can go wrong, in the order of its steps."""
    return [
        CrashPoint(saga=saga, step=step.name, crash=crash)
        for step in saga.definition.steps
        for crash in _crashes_of(saga.definition, step)
    ]


def _crashes_of(definition: SagaDefinition, step: StepDefinition) -> list[Crash]:
    crashes = [Crash.BEFORE_EFFECT, Crash.AFTER_EFFECT]
    if step.compensation is not None and step.name not in _not_undone(definition):
        crashes.append(Crash.UNDONE_TWICE)
    return crashes


def _not_undone(definition: SagaDefinition) -> set[str]:
    """Return the pivots and what comes after them: from there on there is no way back."""
    successors = definition.successors()
    found: set[str] = set()
    todo = [step.name for step in definition.steps if step.pivot]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += successors[name]
    return found


def assert_every_failure_is_undone(
    saga: type[Saga[I]],
    input: I,  # noqa: A002 the word of the contract
    *,
    start: Callable[[I], SagaRun] | None = None,
    check: Check | None = None,
) -> None:
    """Run a saga into each of its crash points, and see it end every time.

    It has to end by itself, or as a dead letter that ends when it is retried after the failure.
    ``check`` is called with each run at rest, before and after such a retry; what it asserts about
    the outside world is the better half of this test. ``start`` is that of :meth:`CrashPoint.play`.

    Raises:
        AssertionError: some run did not end, or ``check`` objected; all of them are told.
    """
    wrong: list[str] = []
    reached = False
    for point in crash_points(saga):
        with point.play(input, start=start) as played:
            reached |= played.reached
            wrong += [f"{point}: {problem}" for problem in _problems(played.run, check)]
    if not reached:
        wrong.append(f"with this input no step of {saga.definition.label} was reached")
    if wrong:
        raise AssertionError("\n".join(wrong))


def _problems(run: SagaRun, check: Check | None) -> Iterator[str]:
    yield from _objections(run, check)
    if run.state == SagaState.DEAD_LETTER:
        run = run_saga(retry_saga(run, reason="the failure is over"))
        yield from _objections(run, check)
    if not run.is_final:
        yield run.explain()


def _objections(run: SagaRun, check: Check | None) -> Iterator[str]:
    try:
        if check is not None:
            check(run)
    except AssertionError as objection:
        yield f"{run.state}, but {objection}"
