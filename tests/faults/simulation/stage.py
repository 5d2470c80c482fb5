"""Where lives are played: the engine's doors to processes, broker and clock lead to the life."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID

from django.utils import timezone

from sagas.definitions import registry
from sagas.engine import advance, child_ends
from sagas.engine import execute as engine
from sagas.engine.one_by_one import OneByOne
from sagas.engine.transitions.events import EventLog
from sagas.engine.transitions.sweeping import Turn
from sagas.exceptions import UnknownHandler
from sagas.models import SagaEvent, SagaRun, StepRun
from tests.faults.simulation.laws import check
from tests.faults.simulation.life import Life, Told
from tests.faults.simulation.rest import dead_letters, members
from tests.faults.simulation.sagas import Outside
from tests.faults.simulation.scenario import Scenario


class OldCode:
    """A saga as the deploy before had it: without one of its steps, and perhaps of a lower version."""

    def __init__(self, saga: Any, missing: str, *, lower: bool) -> None:
        """``saga`` is as it is today."""
        self._saga, self._missing = saga, missing
        self.definition = self
        self.version = saga.definition.version - lower

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make an instance for a handler."""
        return self._saga(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the same."""
        return getattr(self._saga.definition, name)

    def step(self, name: str) -> Any:
        """Return a step.

        Raises:
            UnknownHandler: that came later.
        """
        if name == self._missing:
            message = f"there was no step {name!r} in that code"
            raise UnknownHandler(message, step=name)
        return self._saga.definition.step(name)


class Stage:
    """Plays one life after the other."""

    def __init__(self) -> None:
        """Nothing was played yet."""
        self.life: Life
        self.lives = 0

    def live(self, scenario: Scenario) -> list[str]:
        """Play a life and check it, to its last end. Returns the words of its run.

        Raises:
            AssertionError: a law is broken.
        """
        self.lives += 1
        life = self.life = Outside.world = Life(scenario, key=f"life {self.lives}")
        words = []
        try:
            run = life.play()
            for ending in (*scenario.ending, *["retry", "skip"] * 3):
                words.append(run.state)
                check(life.world, scenario.saga, run)
                if not dead_letters(run):
                    break
                run = life.settle(ending)
            assert all(each.is_final for each in members(run)), run.explain()
        finally:
            SagaRun.objects.exclude(parent_step=None).update(parent_step=None)
            for model in (SagaEvent, StepRun, SagaRun):
                rows = model.objects.all()
                rows._raw_delete(rows.db)
        return words

    def publish(self, message: Any) -> bool:
        """Take a message, in place of the broker."""
        return self.life.publish(message)

    def publish_all(self, messages: Iterable[Any]) -> None:
        """Take many."""
        for message in messages:
            self.publish(message)

    def is_empty(self, _queue: str) -> bool:
        """Whether no message waits."""
        return not self.life.broker


@contextmanager
def stage() -> Iterator[Stage]:
    """Lead the engine's doors to a stage."""
    here = Stage()
    execute_claimed, record, write = engine._execute_claimed, advance.record_outcome, EventLog.write
    tell = child_ends.tell_soon

    def executing(step: StepRun, budget: engine.InPlaceBudget) -> Told:
        return here.life.attempt(partial(execute_claimed, step, budget), step)

    def recording(step: StepRun, *args: Any) -> advance.Recorded:
        recorded: advance.Recorded = here.life.record(record, step, *args)
        return recorded

    def writing(event_log: EventLog) -> None:
        here.life.point("in transaction")
        write(event_log)

    def telling(child_id: UUID) -> None:
        here.life.point("before telling")
        tell(child_id)

    def failing(_: OneByOne[Any], row: Any, error: Exception) -> None:
        message = f"a sweep fails because of {row}"
        raise AssertionError(message) from error

    class Deployed:
        def get(self, label: str) -> Any:
            saga = registry.get(label)
            running = here.life.running
            old = bool(running) and running[-1].old
            scene = here.life.scenario
            return OldCode(saga, scene.unknown_to_old, lower=scene.new_version) if old else saga

    with ExitStack() as patches:
        for target, replacement in (
            ("sagas.engine.execute._execute_claimed", executing),
            ("sagas.engine.declared.registry", Deployed()),
            # Nobody else sweeps, and nobody holds a lock for long.
            ("sagas.engine.recover._turns.begin", lambda *_: Turn(began=timezone.now())),
            ("sagas.operations.operating.transaction_with_lock_timeout", lambda _: nullcontext()),
            # An error in a sweep is no reason to go on.
            ("sagas.engine.one_by_one.OneByOne._failed", failing),
            # A simulated process sleeps or dies at its points, and is quick between them.
            ("sagas.engine.leases._keeper.add", lambda _: None),
            ("sagas.engine.advance.record_outcome", recording),
            ("sagas.engine.child_ends.tell_soon", telling),
            ("sagas.engine.transitions.events.EventLog.write", writing),
            ("sagas.engine.dispatch._publisher.publish", here.publish),
            ("sagas.engine.dispatch._publisher.publish_all", here.publish_all),
            ("sagas.engine.dispatch._publisher.is_empty", here.is_empty),
        ):
            patches.enter_context(patch(target, replacement))
        yield here
