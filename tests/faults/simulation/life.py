"""One simulated life: messages, processes and time around the real engine."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from sagas import OutcomeUnknown, PermanentError, Saga
from sagas.engine import recover
from sagas.engine.execute import execute
from sagas.models import SagaRun, StepRun
from tests.faults.simulation import sagas
from tests.faults.simulation.clock import pass_time
from tests.faults.simulation.family import OF_THE_CHILD
from tests.faults.simulation.laws import may_not_be_undone_blindly, stands_on
from tests.faults.simulation.parties import Parties
from tests.faults.simulation.people import People
from tests.faults.simulation.process import Killed, Process
from tests.faults.simulation.rest import dead_letters, members, moves_on
from tests.faults.simulation.scenario import FROZEN, KILLED, STOPPED, Mishap, Scenario
from tests.faults.simulation.simulated import SAGAS, begin
from tests.faults.simulation.world import World


Told = tuple[str, StepRun | None]
"""What came of an attempt, and the next step where it is claimed already."""

LONG = timedelta(hours=1)
IN_TRANSACTION = frozenset({"in transaction", "before send"})
HALF = "done so far"
"""What a handler keeps of its progress."""


@dataclass
class Life:
    """Plays a scenario, and then lets everything come to rest."""

    scenario: Scenario
    key: str
    broker: list[tuple[UUID, int]] = field(default_factory=list)
    running: list[Process] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Let outside parties and operators act in the same world."""
        self.world = World(self.scenario.remembers)
        self.parties = Parties(self.world)
        self.people = People(self.scenario.saga, self.world)
        self.moves = deque(self.scenario.moves)
        self.definition = SAGAS[self.scenario.saga].definition

    def play(self) -> SagaRun:
        """Return the run as it stands when nothing moves any more."""
        self.run = begin(self.scenario.saga, self.key)
        while self.moves:
            self._move(*self.moves.popleft())
        self.come_to_rest(heard=self.scenario.heard)
        self.parties.say_all(self.run)
        self.come_to_rest()
        return self.fresh()

    def settle(self, ending: str) -> SagaRun:
        """Humans do something about a dead letter, and it comes to rest once more."""
        for run in dead_letters(self.fresh()):
            self.people.settle(ending, run)
        self.come_to_rest(heard=True)
        return self.fresh()

    def come_to_rest(self, bound: int = 60, *, heard: bool = False) -> None:
        """Sweep and deliver until the run needs no worker; at most ``bound`` times.

        Mishaps that were not met until now are met all the same.

        ``heard``: all that are asked do it and say so; else nobody says a word until the end.
        """
        for _ in range(bound):
            if heard:
                self.parties.act_all()
                self.parties.say_all(self.run)
            family = members(self.fresh())
            if not (self.broker or any(moves_on(run) for run in family)):
                return
            for run in family:
                if run.paused_at is not None:
                    self.people.move("resume", 0, run)
            self._pass_time(LONG)
            recover.sweep()
            # One by one, so that what is due later comes in between; but each sweep may send again.
            few = 1 + len(self.broker) // 2
            self._deliver_all(limit=100 if self.scenario.in_place else few)
        raise AssertionError(f"not at rest after {bound} sweeps: {self.fresh().explain()}")

    def fresh(self) -> SagaRun:
        """Return the run as the database has it."""
        return SagaRun.objects.get(pk=self.run.pk)

    # What a handler does

    def act(self, saga: Saga[Any], name: str) -> None:
        """Have an effect outside, and meet what the scenario says."""
        process, step = self.running[-1], name.removeprefix("undo ")
        undoes = step != name
        key = saga.undoing.idempotency_key if undoes else saga.idempotency_key
        meets = process.meets
        if undoes:
            self._judge_undoing(saga, process, step)
        self.meet(name)
        if name in sagas.LEFT:
            self.parties.ask(name, key, process.fence, awake=process.awake, waited_for=not meets)
        elif name not in sagas.BEATING or saga.last_heartbeat != HALF:
            effect = self.world.undo if undoes else self.world.do
            effect(step, key, awake=process.awake)
        process.acted = key if name not in sagas.LEFT and not undoes else ""
        if process.last:
            raise Killed("after effect")
        if name in sagas.BEATING:
            saga.heartbeat(HALF)
        self.point("after effect")
        self._answer(saga, name, meets)

    def meet(self, name: str) -> None:
        """Meet what the scenario says, before there is an effect."""
        self.point("before effect")
        meets = self.running[-1].meets
        if meets == "refused":
            message = f"{name} refused"
            raise PermanentError(message)
        if meets == "no answer":
            message = f"{name} did not answer"
            raise ConnectionError(message)

    def _answer(self, saga: Saga[Any], name: str, meets: str) -> None:
        if meets == "no answer but done":
            raise ConnectionError(name)
        if meets == "unknown but done":
            raise OutcomeUnknown(name)
        if meets == "a beat that cannot be stored":
            saga.heartbeat({name})
        sagas.Outside.unstorable = meets == "a result that cannot be stored"

    def wants(self, saga: Saga[Any], name: str) -> bool:
        """Answer a condition: it is wanted, and not done yet."""
        if self.running[-1].meets == "unwanted" or self.world.has(saga.idempotency_key):
            self.world.unwanted.add(name)
            return False
        return True

    def has(self, key: str) -> bool:
        """Answer a reconcile, as things stand: a party that was asked may do it still."""
        found = self.world.has(key)
        if not found:
            self.parties.close(key)
        return found

    def _judge_undoing(self, saga: Saga[Any], process: Process, name: str) -> None:
        if process.unready and not self.definition.run_plan.continues_undoing:
            self.world.broken.append(f"{name} is undone while {process.unready} stand")
        blind = saga.undoing.outcome == "unknown" and not self.people.decided
        if blind and may_not_be_undone_blindly(self.definition.step(name)):
            self.world.broken.append(f"{name} is undone and nobody knows whether it happened")

    # What happens to processes

    def point(self, name: str) -> None:
        """An attempt comes to this point: it dies, sleeps, or goes on."""
        if not self.running:
            return
        process = self.running[-1]
        met = [mishap for mishap in process.mishaps if mishap.point == name]
        process.mishaps = [mishap for mishap in process.mishaps if mishap not in met]
        for mishap in met:
            if mishap.fate == KILLED:
                raise Killed(name)
            if name not in IN_TRANSACTION:
                self._others_go_on(process, mishap)

    def _others_go_on(self, process: Process, mishap: Mishap) -> None:
        """This process sleeps, beyond its lease or not; when it wakes up, others have moved."""
        if mishap.fate in {STOPPED, FROZEN}:
            process.awake = False
            self._pass_time(LONG)
            recover.sweep()
        moves = mishap.moves if mishap.fate != FROZEN else len(self.moves)
        for _ in range(min(moves, len(self.moves))):
            if self.moves:
                self._move(*self.moves.popleft())
        if mishap.fate == FROZEN:
            for _ in range(4):
                self._pass_time(LONG)
                recover.sweep()
                self._deliver_all()

    def _execute(self, step_id: UUID, fence: int, *, old: bool = False) -> None:
        self.running.append(Process(old=old))
        try:
            execute(step_id, fence, in_place=self.scenario.in_place)
        except Killed:
            return
        finally:
            self.running.pop()

    def attempt(self, claimed: Callable[[], Told], step: StepRun) -> Told:
        """A claimed step is executed: the one of the message, or one in place."""
        process = self.running[-1] = Process(
            old=self.running[-1].old, step_id=step.pk, fence=step.fence
        )
        kind = "ask " if step.is_reconciling else "undo " if step.is_backward else ""
        name = f"{kind}{step.present_name}"
        self.attempts[name] += 1
        nth = self.attempts[name]
        process.mishaps = [m for m in self.scenario.mishaps if (m.name, m.nth) == (name, nth)]
        process.meets = next((m.meets for m in process.mishaps if m.meets), "")
        process.last = any(mishap.last for mishap in process.mishaps)
        if step.is_backward:
            self.parties.forget(name)
            # What was built on an earlier life was undone with it; what stands is built on the present one.
            past = step.is_past or step.run_id not in {self.run.pk, members(self.run)[-1].pk}
            unready = [] if past else stands_on(self.world, self.scenario.saga, step.name)
            # What a child or its parent hears late, that run undoes by itself, beside the other.
            ours = step.name in OF_THE_CHILD
            process.unready = [
                name
                for name in unready
                if (name in OF_THE_CHILD) == ours or not self.world.is_late(name)
            ]
        try:
            self.point("after claim")
            return claimed()
        finally:
            sagas.Outside.unstorable = False

    def record(self, record: Callable[..., Any], step: StepRun, *args: Any) -> Any:
        """An outcome comes in; what its attempt did is told as soon as that is committed."""
        process = self.running[-1] if self.running else Process()
        acted = process.acted if process.step_id == step.pk else ""
        sagas.Outside.unstorable = False
        self.point("before outcome")
        try:
            recorded = record(step, *args)
        except Killed as killed:
            if killed.committed:
                self.world.tell(acted)
            raise
        self.world.tell(acted)
        return recorded

    # What happens besides

    def _move(self, move: str, which: int) -> None:
        if move.startswith("outside "):
            self.parties.move(move, which, self.run)
        elif move == "deliver":
            self._deliver(which)
        elif move == "old delivers":
            self._deliver(which, old=True)
        elif move == "deliver a copy":
            self.broker += self.broker[which : which + 1]
            self._deliver(which)
        elif move == "lose":
            del self.broker[which : which + 1]
        elif move == "time passes":
            self._pass_time(timedelta(seconds=5))
        elif move == "leases end":
            self._pass_time(timedelta(minutes=1))
            recover.sweep()
        elif move == "deadline":
            SagaRun.objects.filter(pk=self.run.pk).update(deadline=Now())
            recover.sweep()
        else:
            self._operate(move, which)

    def _operate(self, move: str, which: int) -> None:
        """An operator acts on the run, or on the last of its children, if it has any."""
        _, of_child, verb = move.rpartition("child ")
        for run in members(self.run)[1:][-1:] if of_child else [self.run]:
            self.people.move(verb, which, run)

    def _deliver(self, which: int, *, old: bool = False) -> None:
        if self.broker:
            self._execute(*self.broker.pop(which % len(self.broker)), old=old)

    def _deliver_all(self, limit: int = 100) -> None:
        for _ in range(limit):
            if not self.broker:
                return
            self._execute(*self.broker.pop(0))

    def _pass_time(self, span: timedelta) -> None:
        pass_time(span)
        for process in self.running:
            process.awake = process.awake and span < timedelta(minutes=1)

    def publish(self, message: Any) -> bool:
        """Take a message, in place of the broker."""
        self.point("before send")
        step_id, fence = message.args
        self.broker.append((UUID(step_id), fence))
        return True
