"""One simulated life: messages, processes and time around the real engine."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from sagas import OutcomeUnknown, PermanentError, Saga, advance, recover, start_saga
from sagas import execute as engine
from sagas.exceptions import ActionNotAllowed
from sagas.execute import execute
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import cancel_saga, retry_saga
from sagas.states import ACTIVE_SAGAS, SagaState, StepState
from sagas.transitions.journal import Journal
from tests.faults.simulation import sagas
from tests.faults.simulation.parties import Parties
from tests.faults.simulation.scenario import KILLED, STOPPED, Scenario
from tests.faults.simulation.world import World


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Process:
    """A worker process that executes one message, and what follows in place."""

    step_id: UUID
    fence: int
    """As the attempt has it that is under way."""

    handler: str = ""
    key: str = ""
    succeeded: bool = False
    """The handler of this attempt returned."""


Told = tuple[str, StepRun | None]
"""What came of an attempt, and the next step where it is claimed already."""

LONG = timedelta(hours=1)
IN_TRANSACTION = frozenset({"in transaction", "before send"})


@dataclass
class Life:
    """Plays a scenario, and then lets everything come to rest."""

    scenario: Scenario
    key: str
    world: World = field(default_factory=World)
    broker: list[tuple[UUID, int]] = field(default_factory=list)
    running: list[Process] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    calm: bool = False
    """Nothing more goes wrong."""

    def __post_init__(self) -> None:
        """Let outside parties act in the same world."""
        self.parties = Parties(self.world)

    def play(self) -> SagaRun:
        """Return the run as it stands when nothing moves any more."""
        with self._patched():
            self.run = start_saga(sagas.SAGAS[self.scenario.saga], sagas.Nothing(), key=self.key)
            for move, which in self.scenario.moves:
                self._move(move, which)
            self.calm = True
            self.come_to_rest(heard=self.scenario.heard)
            self.parties.say_all(self.run)
            self.come_to_rest()
        return self.fresh()

    def come_to_rest(self, bound: int = 60, *, heard: bool = False) -> None:
        """Sweep and deliver until the run needs no worker; at most ``bound`` times.

        ``heard``: all that are asked do it and say so; else nobody says a word until the end.
        """
        for _ in range(bound):
            if heard:
                self.parties.act_all()
                self.parties.say_all(self.run)
            if self.fresh().state not in ACTIVE_SAGAS and not self.broker:
                return
            self._pass_time(LONG)
            recover.sweep()
            self._deliver_all()
        raise AssertionError(f"not at rest after {bound} sweeps: {self.fresh().explain()}")

    def retry(self) -> None:
        """The operator retries a dead letter, and it comes to rest once more."""
        with self._patched():
            retry_saga(self.run, reason="the simulation is calm")
            self.come_to_rest(heard=True)

    def fresh(self) -> SagaRun:
        """Return the run as the database has it."""
        return SagaRun.objects.get(pk=self.run.pk)

    # What a handler does

    def act(self, saga: Saga[Any], name: str) -> None:
        """Have an effect outside, and meet what the scenario says."""
        process = self.running[-1]
        undone = saga.undoing.idempotency_key if name.startswith("undo ") else ""
        process.handler, process.key = name, undone or saga.idempotency_key
        self.attempts[name] += 1
        nth = self.attempts[name]
        trouble = next((t for h, n, t in self.scenario.troubles if (h, n) == (name, nth)), "")
        trouble = "" if self.calm else trouble
        self.point("before effect")
        if trouble == "refused":
            message = f"{name} refused"
            raise PermanentError(message)
        if trouble == "no answer":
            message = f"{name} did not answer"
            raise ConnectionError(message)
        if name in sagas.LEFT:
            self.parties.ask(name, process.key, process.step_id)
        else:
            effect = self.world.undo if undone else self.world.do
            effect(name, process.key, given_up=self._is_given_up(process))
        self.point("after effect")
        if trouble:
            raise (ConnectionError if trouble == "no answer but done" else OutcomeUnknown)(name)
        process.succeeded = name not in sagas.LEFT

    def _is_given_up(self, process: Process) -> bool:
        mine = StepRun.objects.filter(pk=process.step_id, fence=process.fence)
        return not mine.filter(state=StepState.RUNNING).exists()

    # What happens to processes

    def point(self, name: str) -> None:
        """A process comes to this point: it dies, sleeps, or goes on."""
        self.passed[name] += 1
        if self.calm or not self.running:
            return
        for fault in self.scenario.faults:
            if (fault.point, fault.nth) == (name, self.passed[name]):
                if fault.kind == KILLED:
                    raise Killed
                if fault.kind == STOPPED and name not in IN_TRANSACTION:
                    self._others_go_on()

    def _others_go_on(self) -> None:
        """This process sleeps beyond its lease; when it wakes up, others have done its work."""
        self._pass_time(LONG)
        recover.sweep()
        self._deliver_all(limit=3)

    def _execute(self, step_id: UUID, fence: int) -> None:
        self.running.append(Process(step_id, fence))
        try:
            self.point("before claim")
            execute(step_id, fence, in_place=True)
        except Killed:
            return
        finally:
            self.running.pop()

    def _follow_attempt(self, attempt: Callable[[], Told], step: StepRun) -> Told:
        """A claimed step is executed: the one of the message, or one in place."""
        process = self.running[-1] = Process(step.pk, step.fence)
        if step.is_backward:
            self.parties.forget(f"undo {step.name}")
        self.point("after claim")
        told, following = attempt()
        if told == "late" and process.succeeded and not process.handler.startswith("undo "):
            self.world.told_late(process.key)
        return told, following

    # What happens besides

    def _move(self, move: str, which: int) -> None:
        if move.startswith("outside "):
            self.parties.move(move, which, self.run)
        elif move == "deliver" and self.broker:
            self._execute(*self.broker.pop(which % len(self.broker)))
        elif move == "deliver a copy" and self.broker:
            self._execute(*self.broker[which % len(self.broker)])
        elif move == "lose" and self.broker:
            del self.broker[which % len(self.broker)]
        elif move == "time passes":
            self._pass_time(timedelta(seconds=5))
        elif move == "leases end":
            self._pass_time(timedelta(minutes=1))
            recover.sweep()
        elif move == "sweep":
            recover.sweep()
        elif move == "deadline":
            SagaRun.objects.filter(pk=self.run.pk).update(deadline=Now())
            recover.sweep()
        elif move in {"cancel", "retry"}:
            self._operate(move)

    def _operate(self, verb: str) -> None:
        try:
            {"cancel": cancel_saga, "retry": retry_saga}[verb](self.run, reason="asked to")
        except ActionNotAllowed:
            return

    def _deliver_all(self, limit: int = 100) -> None:
        for _ in range(limit):
            if not self.broker:
                return
            self._execute(*self.broker.pop(0))

    def _pass_time(self, span: timedelta) -> None:
        """Everything that the rows wait for comes nearer; the deadline does not, so as to see all."""
        moments = ("due_at", "send_at", "lease_until", "ended_at")
        nearer = {column: F(column) - span for column in moments}  # what is not set stays so
        StepRun.objects.filter(run=self.run).update(**nearer)
        # How long ago a queue gave out something.
        SagaEvent.objects.filter(run=self.run).update(at=F("at") - span)

    def publish(self, message: Any) -> bool:
        """Take a message, in place of the broker."""
        self.point("before send")
        step_id, fence = message.args
        self.broker.append((UUID(step_id), fence))
        return True

    # Where the points are

    @contextmanager
    def _patched(self) -> Iterator[None]:
        execute_claimed, record = engine._execute_claimed, advance.record_outcome
        write = Journal.write

        def executing(step: StepRun, stint: engine.Stint) -> Told:
            return self._follow_attempt(partial(execute_claimed, step, stint), step)

        def recording(*args: Any) -> advance.Recorded:
            self.point("before outcome")
            return record(*args)

        def writing(journal: Journal) -> None:
            self.point("in transaction")
            write(journal)

        with ExitStack() as patches:
            for target, replacement in (
                ("sagas.execute._execute_claimed", executing),
                # A simulated process sleeps or dies at its points, and is quick between them.
                ("sagas.leases._keeper.add", lambda _: None),
                ("sagas.advance.record_outcome", recording),
                ("sagas.transitions.journal.Journal.write", writing),
                ("sagas.dispatch._publisher.publish", self.publish),
                ("sagas.dispatch._publisher.is_empty", lambda _: not self.broker),
                ("tests.faults.simulation.sagas.Outside.act", self.act),
                ("tests.faults.simulation.sagas.Outside.find", self.world.has),
            ):
                patches.enter_context(patch(target, replacement, create=True))
            yield


def is_dead_letter(run: SagaRun) -> bool:
    """Whether it waits for a human."""
    return run.state == SagaState.DEAD_LETTER
