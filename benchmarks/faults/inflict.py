"""The faults. Each acts on processes that the soak started itself, and tells what it hit."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import redis

from benchmarks.faults.plant import Plant, Slot


STOPPED_SECONDS = 20
"""Longer than the lease of 15 s, so that the attempt is given up and its process wakes up late."""
BROKER_AWAY_SECONDS = 2
WORKER_RESTART_SECONDS = 0.5

IN_QUEUE = ("saga.steps", "saga.compensate")


@dataclass(kw_only=True)
class Fault:
    """One fault: when by the database's clock, and the sagas it hit."""

    kind: str
    phase: str
    at: datetime
    hit: set[UUID]


@dataclass(kw_only=True)
class Inflictor:
    """Inflicts faults, and ends those that last, when it is told to :meth:`tick`."""

    plant: Plant
    dice: random.Random
    phase: str = ""
    """What the faults are noted under."""
    faults: list[Fault] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    broker_is_away: bool = False

    def inflict(self, kind: str) -> bool:
        """Do it now; False when it is not possible at this moment."""
        hit: Fault | None = getattr(self, f"_{kind}")()
        if hit is not None:
            self.faults.append(hit)
        return hit is not None

    def tick(self) -> None:
        """End the faults whose time is over, and replace workers that ended by themselves."""
        now = time.monotonic()
        for item in [item for item in self._later if item[0] <= now]:
            self._later.remove(item)
            item[1]()
        for slot in self.plant.slots:
            if not slot.worker.alive and not any(item[1] == slot.replace for item in self._later):
                slot.replace()

    def end_all(self) -> None:
        """Let everything go on: no fault is left after this."""
        for _, act in sorted(self._later, key=lambda item: item[0]):
            act()
        self._later.clear()

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def _kill_child(self) -> Fault | None:
        found = self.plant.busy_child(self.dice)
        if found is None:
            return None
        slot, pid = found
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self._fault("kill_child", *self._held_by(slot, [pid]))

    def _kill_worker(self) -> Fault | None:
        slot = self._unstopped_slot()
        if slot is None:
            return None
        pids = slot.pids()
        slot.worker.kill()
        self._in(WORKER_RESTART_SECONDS, slot.replace)
        return self._fault("kill_worker", *self._held_by(slot, pids))

    def _stop_child(self) -> Fault | None:
        found = self.plant.busy_child(self.dice)
        if found is None or self._somebody_is_stopped():
            return None
        slot, pid = found
        return self._stop("stop_child", slot, [pid])

    def _stop_worker(self) -> Fault | None:
        slot = self._unstopped_slot()
        if slot is None or self._somebody_is_stopped():
            return None
        return self._stop("stop_worker", slot, slot.pids())

    def _stop(self, kind: str, slot: Slot, pids: list[int]) -> Fault:
        slot.stopped = True

        def wake() -> None:
            slot.stopped = False
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self._in(STOPPED_SECONDS, wake)
        return self._fault(kind, *self._held_by(slot, pids))

    def _flush(self) -> Fault | None:
        if self.broker_is_away:
            return None
        with redis.Redis.from_url(self.plant.redis.url) as broker, broker.pipeline() as pipe:
            for queue in IN_QUEUE:
                pipe.lrange(queue, 0, -1)
            pipe.flushall()
            *queues, _ = pipe.execute()
        at = self._now()
        lost = {_saga_of(message) for messages in queues for message in messages}
        # A message that was sent twice may be left over from a step that is done.
        return self._fault("flush", at, lost & self._runs("state = 'ready' AND due_at <= now()"))

    def _restart_broker(self) -> Fault | None:
        if self.broker_is_away:
            return None
        hit = self._runs("state = 'ready' AND due_at <= now()")
        at = self._now()
        self.plant.redis.kill()
        self.broker_is_away = True
        self._in(BROKER_AWAY_SECONDS, self._bring_broker_back)
        return self._fault("restart_broker", at, hit)

    def _bring_broker_back(self) -> None:
        self.plant.redis.start()
        self.broker_is_away = False

    def _cut_database(self) -> Fault:
        hit = self._runs("state = 'running'")
        at = self._now()
        self.plant.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return self._fault("cut_database", at, hit)

    def _fault(self, kind: str, at: datetime, hit: set[UUID]) -> Fault:
        return Fault(kind=kind, phase=self.phase, at=at, hit=hit)

    def _held_by(self, slot: Slot, pids: list[int]) -> tuple[datetime, set[UUID]]:
        """The runs whose step these processes hold. They cannot let go of it any more."""
        at = self._now()
        # What follows the pid tells one boot of a worker from another.
        names = [f"%{slot.name}@%/{pid}-%" for pid in pids]
        return at, self._runs("state = 'running' AND worker LIKE ANY(%s)", names)

    def _runs(self, where: str, *values: object) -> set[UUID]:
        rows = self.plant.query(f"SELECT run_id FROM sagas_steprun WHERE {where}", *values)  # noqa: S608
        return {run for (run,) in rows}

    def _now(self) -> datetime:
        now: datetime = self.plant.query("SELECT clock_timestamp()")[0][0]
        return now

    def _unstopped_slot(self) -> Slot | None:
        slots = [slot for slot in self.plant.slots if not slot.stopped and slot.worker.alive]
        return self.dice.choice(slots) if slots else None

    def _somebody_is_stopped(self) -> bool:
        return any(slot.stopped for slot in self.plant.slots)


KINDS = {
    "kill_child": "SIGKILL of a child",
    "kill_worker": "SIGKILL of a worker and its children",
    "stop_child": f"SIGSTOP of a child for {STOPPED_SECONDS} s",
    "stop_worker": f"SIGSTOP of a worker for {STOPPED_SECONDS} s",
    "flush": "FLUSHALL of the broker",
    "restart_broker": f"SIGKILL of the broker, back after {BROKER_AWAY_SECONDS} s",
    "cut_database": "pg_terminate_backend of every connection",
}


DECK = {
    "kill_child": 8,
    "kill_worker": 3,
    "stop_child": 2,
    "stop_worker": 2,
    "flush": 1,
    "restart_broker": 1,
    "cut_database": 6,
}
"""How often each comes in a round. A worker takes seconds to start, a lost message as long to be
missed: what hits everybody comes less often, or nothing would run that could be hit."""


def _saga_of(message: bytes) -> UUID:
    headers: dict[str, Any] = json.loads(message)["headers"]
    return UUID(headers["saga_id"])
