"""The cases of the crash matrix: what is hit, at which boundary, by which fault."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from sagas.states import SagaState
from tests.faults.crashes.blows import ASLEEP, Fault
from tests.faults.crashes.points import IN_HANDLER, Boundary, Plan
from tests.faults.crashes.sagas import (
    Crash,
    Crashes,
    Flips,
    Held,
    InPlace,
    Optional,
    Outside,
    SingleTry,
    Waits,
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """An attempt to be hit, and how its saga may end."""

    name: str
    step: str
    direction: str = "forward"
    saga: type[Crashes] = Crashes
    refuses: str = ""
    dies: str = ""
    """The step whose first attempt is killed anyway, so that there is something to recover."""
    ends: frozenset[str] = frozenset({SagaState.COMPLETED})
    skips: bool = False
    outside: Outside | None = None
    """What becomes of the step, where an outside party completes it."""

    def script(self, ledger: str) -> Crash:
        """Return the saga's input."""
        crash = Crash(
            ledger=ledger,
            refuses=self.refuses,
            dies=self.dies,
            skips=self.skips,
        )
        if self.outside is None:
            return crash
        return replace(crash, waits=self.direction, outside=self.outside)


_UNDONE = frozenset({SagaState.COMPENSATED.value})

FORWARD = Target(name="forward", step="first")
ATOMIC = Target(name="atomic", step="booked")
BACKWARD = Target(name="backward", step="third", direction="backward", refuses="last", ends=_UNDONE)
ATOMIC_BACKWARD = Target(
    name="atomic backward", step="booked", direction="backward", refuses="last", ends=_UNDONE
)
LAST_UNDO = Target(
    name="last undo", step="first", direction="backward", refuses="last", ends=_UNDONE
)
SINGLE_TRY = Target(
    name="single try",
    step="third",
    saga=SingleTry,
    ends=_UNDONE | {SagaState.COMPLETED.value},
)
IN_PLACE = Target(name="in place", step="third", saga=InPlace)
RECOVERED = Target(name="recovered", step="third", dies="third")
WAITING = Target(name="waiting", step="third", saga=Waits, outside=Outside.COMPLETES)
WAITING_BACKWARD = replace(
    WAITING, name="waiting backward", direction="backward", refuses="last", ends=_UNDONE
)
DENIED = replace(WAITING, name="denied", outside=Outside.DENIES, ends=_UNDONE)
EARLY = replace(WAITING, name="answered early", outside=Outside.COMPLETES_EARLY)
UNANSWERED = replace(WAITING, name="unanswered", outside=Outside.SILENT, ends=_UNDONE)

FLIPPED = Target(name="condition flips", step="third", saga=Flips, refuses="last", ends=_UNDONE)
HELD = Target(name="held", step="third", saga=Held)
SKIPPED = Target(name="skipped by hand", step="third", refuses="last", skips=True, ends=_UNDONE)
OPTIONAL = Target(
    name="best effort",
    step="extra",
    saga=Optional,
    outside=Outside.SILENT,
    ends=_UNDONE | {SagaState.COMPLETED.value},
)
DEPLOYED = Target(name="older worker", step="third", ends=frozenset({SagaState.CANCELLED.value}))
DEPLOYED_BACKWARD = replace(BACKWARD, name="older worker, backward")

ATTEMPT = (
    Boundary.BEFORE_CLAIM,
    Boundary.AFTER_CLAIM,
    Boundary.BEFORE_EFFECT,
    Boundary.AFTER_EFFECT,
    Boundary.BEFORE_OUTCOME,
    Boundary.IN_OUTCOME,
    Boundary.BEFORE_SEND,
    Boundary.AFTER_SEND,
)
DOORS = (
    Boundary.BEFORE_ERROR_DOOR,
    Boundary.AFTER_ERROR_DOOR,
    Boundary.BEFORE_SUCCESS_DOOR,
    Boundary.AFTER_SUCCESS_DOOR,
)
SWEEP = (
    Boundary.BEFORE_GIVING_UP,
    Boundary.AFTER_GIVING_UP,
    Boundary.BEFORE_RESEND,
    Boundary.AFTER_RESEND,
)
WAIT = (
    Boundary.AFTER_EFFECT,
    Boundary.BEFORE_OUTCOME,
    Boundary.IN_OUTCOME,
    Boundary.AFTER_OUTCOME,
)
ANSWER = (
    Boundary.BEFORE_ANSWER,
    Boundary.IN_ANSWER,
    Boundary.BEFORE_SEND,
    Boundary.AFTER_SEND,
)
SUDDEN = (
    Fault.CHILD_KILLED,
    Fault.WORKER_KILLED,
    Fault.EXCEPTION,
    Fault.DATABASE_CUT,
    Fault.BROKER_CUT,
)
IN_MAIN_PROCESS = SUDDEN[1:]
UNDER_WAY = (
    Boundary.AFTER_CLAIM,
    Boundary.BEFORE_EFFECT,
    Boundary.AFTER_EFFECT,
    Boundary.BEFORE_OUTCOME,
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One saga, hit once."""

    target: Target
    boundary: Boundary
    fault: Fault

    def __str__(self) -> str:
        return f"{self.target.name}, {self.boundary}, {self.fault}"

    @property
    def sleeps(self) -> bool:
        """Whether the process that is hit is woken up when its saga has ended."""
        return self.fault in ASLEEP

    @property
    def is_slow(self) -> bool:
        """Whether the process that is hit may go on when its attempt has been given up."""
        return self.sleeps or self.fault == Fault.INTERPRETER_HELD

    @property
    def ends_late(self) -> bool:
        """Whether the attempt that is hit reports when it has been given up."""
        return self.sleeps and self.boundary in (*UNDER_WAY, Boundary.IN_OUTCOME)

    @property
    def plan(self) -> Plan:
        """What the workers are told."""
        return Plan(
            fault=self.fault,
            boundary=self.boundary,
            step=self.target.step,
            direction=self.target.direction,
        )


def _all() -> Iterator[Case]:
    attempts = (FORWARD, ATOMIC, BACKWARD, ATOMIC_BACKWARD, SINGLE_TRY)
    slow_to_tell = (FORWARD, ATOMIC, BACKWARD, SINGLE_TRY, IN_PLACE)
    for rows in (
        product(attempts, ATTEMPT, SUDDEN),
        product((IN_PLACE,), (*UNDER_WAY, Boundary.IN_OUTCOME), SUDDEN),
        product((RECOVERED,), DOORS, SUDDEN),
        product((RECOVERED,), SWEEP, IN_MAIN_PROCESS),
        product((WAITING, WAITING_BACKWARD), (*WAIT, *ANSWER), SUDDEN),
        product((DENIED,), ANSWER, SUDDEN),
        product((EARLY,), (*ANSWER[:2], *WAIT[1:3]), SUDDEN),
        product((UNANSWERED,), SWEEP[:2], IN_MAIN_PROCESS),
        product(slow_to_tell, UNDER_WAY, (Fault.CHILD_STOPPED,)),
        product((FORWARD,), (Boundary.BEFORE_CLAIM, Boundary.BEFORE_SEND), (Fault.CHILD_STOPPED,)),
        product((FLIPPED, HELD), (*UNDER_WAY, Boundary.IN_OUTCOME), SUDDEN),
        product((SKIPPED,), UNDER_WAY, (Fault.CHILD_STOPPED,)),
        # Who is given up before his condition was kept does nothing, and has nothing to report.
        product((FLIPPED,), UNDER_WAY[1:], (Fault.CHILD_STOPPED,)),
        product((OPTIONAL,), (Boundary.BEFORE_DEADLINE, Boundary.IN_DEADLINE), IN_MAIN_PROCESS),
        product((DEPLOYED, DEPLOYED_BACKWARD), (Boundary.IN_LOOKUP,), (Fault.HANDLER_GONE,)),
        # Not one statement: the process holds the run's lock when it falls asleep. In an atomic step
        # it would keep it, because that transaction is the handler's too.
        product((LAST_UNDO,), (Boundary.IN_OUTCOME,), (Fault.CHILD_STOPPED,)),
        product(slow_to_tell, (Boundary.AFTER_EFFECT,), (Fault.WORKER_STOPPED,)),
        product(slow_to_tell, IN_HANDLER, (Fault.INTERPRETER_HELD,)),
    ):
        for target, boundary, fault in rows:
            yield Case(target=target, boundary=boundary, fault=fault)


CASES = tuple(_all())

FAST = frozenset(
    Case(target=target, boundary=boundary, fault=fault)
    for target, boundary, fault in (
        (FORWARD, Boundary.AFTER_CLAIM, Fault.CHILD_KILLED),
        (FORWARD, Boundary.AFTER_EFFECT, Fault.WORKER_KILLED),
        (FORWARD, Boundary.BEFORE_OUTCOME, Fault.DATABASE_CUT),
        (FORWARD, Boundary.IN_OUTCOME, Fault.EXCEPTION),
        (FORWARD, Boundary.BEFORE_SEND, Fault.BROKER_CUT),
        (ATOMIC, Boundary.AFTER_EFFECT, Fault.CHILD_KILLED),
        (ATOMIC, Boundary.IN_OUTCOME, Fault.WORKER_KILLED),
        (ATOMIC, Boundary.IN_OUTCOME, Fault.DATABASE_CUT),
        (BACKWARD, Boundary.BEFORE_EFFECT, Fault.EXCEPTION),
        (BACKWARD, Boundary.AFTER_EFFECT, Fault.CHILD_KILLED),
        (BACKWARD, Boundary.BEFORE_SEND, Fault.WORKER_KILLED),
        (ATOMIC_BACKWARD, Boundary.AFTER_EFFECT, Fault.DATABASE_CUT),
        (SINGLE_TRY, Boundary.AFTER_EFFECT, Fault.CHILD_KILLED),
        (IN_PLACE, Boundary.AFTER_CLAIM, Fault.CHILD_KILLED),
        (FORWARD, Boundary.BEFORE_EFFECT, Fault.INTERPRETER_HELD),
        (SINGLE_TRY, Boundary.BEFORE_EFFECT, Fault.CHILD_STOPPED),
        (LAST_UNDO, Boundary.IN_OUTCOME, Fault.CHILD_STOPPED),
        (RECOVERED, Boundary.BEFORE_ERROR_DOOR, Fault.CHILD_KILLED),
        (RECOVERED, Boundary.AFTER_GIVING_UP, Fault.WORKER_KILLED),
        (WAITING, Boundary.AFTER_OUTCOME, Fault.WORKER_KILLED),
        (WAITING, Boundary.IN_ANSWER, Fault.CHILD_KILLED),
        (WAITING, Boundary.BEFORE_SEND, Fault.BROKER_CUT),
        (WAITING_BACKWARD, Boundary.BEFORE_SEND, Fault.CHILD_KILLED),
        (DENIED, Boundary.IN_ANSWER, Fault.DATABASE_CUT),
        (EARLY, Boundary.BEFORE_OUTCOME, Fault.CHILD_KILLED),
        (UNANSWERED, Boundary.BEFORE_GIVING_UP, Fault.WORKER_KILLED),
        (FLIPPED, Boundary.AFTER_EFFECT, Fault.CHILD_KILLED),
        (HELD, Boundary.AFTER_EFFECT, Fault.CHILD_KILLED),
        (SKIPPED, Boundary.BEFORE_EFFECT, Fault.CHILD_STOPPED),
        (OPTIONAL, Boundary.IN_DEADLINE, Fault.WORKER_KILLED),
        (DEPLOYED, Boundary.IN_LOOKUP, Fault.HANDLER_GONE),
    )
)
