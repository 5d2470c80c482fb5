"""The protocol with one guard taken out at a time. A search that misses one is worth nothing."""

from dataclasses import dataclass, replace

from tests.faults.model.explore import NOT_HOPELESS, NOT_STUCK
from tests.faults.model.mended_plans import PROGRESS, PUT_BACK, UNDO_RETRIED
from tests.faults.model.plans import (
    ASKED,
    ASKED_IN_CALM,
    CONTINUED,
    JOINED,
    LOST_MESSAGES,
    OPTIONAL,
    PIVOTED,
    RETRIED,
    TURNED_BACK,
    WAITED_IN_CALM,
    WAITED_UNDO,
)
from tests.faults.model.state import Plan


@dataclass(frozen=True)
class Mutant:
    """A guard, where its absence shows, and which promise is then broken first."""

    guard: str
    plan: Plan
    breaks: str
    slow: bool = False
    """The search needs many seconds to get there."""

    also: frozenset[str] = frozenset()
    """Guards behind it, which catch the same."""

    @property
    def mutated(self) -> Plan:
        """The saga without the guard."""
        return replace(self.plan, without=frozenset({self.guard}) | self.also)


FORWARD_AFTER_UNDO = "nothing runs forward once undoing began"
UNDONE = "rolled back means undone"
ONE_OUTCOME = "an attempt has one outcome at most"
COUNTERS = "no counter is wrong"
BELOW_ZERO = "no counter falls below zero"
REVERSE = "what came last is undone first"
ARROWS = "only legal arrows"
OVER = "what is over waits for nothing"

MUTANTS = (
    Mutant("claim checks the state", TURNED_BACK, REVERSE),
    Mutant("claim checks the fence", LOST_MESSAGES, "a message starts one attempt at most"),
    Mutant("claim checks the run", PIVOTED, "nothing starts while the saga stands"),
    Mutant("outcome checks the state", LOST_MESSAGES, ONE_OUTCOME),
    Mutant("outcome checks the fence", LOST_MESSAGES, ONE_OUTCOME),
    Mutant("leases end", LOST_MESSAGES, NOT_STUCK),
    Mutant("the sweep sends again", LOST_MESSAGES, NOT_STUCK),
    Mutant("counters are lowered once", JOINED, COUNTERS),
    Mutant("only the winner lowers counters", JOINED, BELOW_ZERO),
    Mutant(
        "turning back shuts what is ready",
        TURNED_BACK,
        OVER,
        also=frozenset({"strays are shut before undoing"}),
    ),
    Mutant("undoing waits for what is in flight", TURNED_BACK, FORWARD_AFTER_UNDO),
    Mutant("a deadline looks at what is critical", OPTIONAL, "completed means done"),
    Mutant("a deadline ends what is left", OPTIONAL, OVER),
    Mutant("it turns back once", TURNED_BACK, ARROWS),
    Mutant("the unknown is undone", LOST_MESSAGES, UNDONE),
    Mutant("doubt stays", LOST_MESSAGES, UNDONE),
    Mutant("a late success is taken up", LOST_MESSAGES, UNDONE),
    Mutant("a late success answers a question", ASKED, REVERSE),
    Mutant("the last is undone first", LOST_MESSAGES, REVERSE),
    Mutant("one is undone after the other", LOST_MESSAGES, REVERSE),
    Mutant("the end asks for every compensation", CONTINUED, ARROWS),
    Mutant("an undo that waits begins anew too", PROGRESS, UNDONE),
    Mutant("what is put back is shut", PUT_BACK, NOT_STUCK, slow=True),
    Mutant("an undo that is tried again keeps the order", UNDO_RETRIED, REVERSE),
    Mutant("an undo that failed stays in sight", CONTINUED, REVERSE),
    Mutant("a retry resets what failed", RETRIED, COUNTERS),
    Mutant("a retry acts and does not ask", ASKED_IN_CALM, NOT_HOPELESS),
    Mutant("waits end", WAITED_IN_CALM, NOT_STUCK),
    Mutant("the end of a wait checks the state", WAITED_IN_CALM, ONE_OUTCOME),
    Mutant("an answer is for a wait that has not ended", WAITED_IN_CALM, ONE_OUTCOME),
    Mutant("a wait looks for an early answer", WAITED_IN_CALM, NOT_STUCK),
    Mutant("a late answer counts", WAITED_IN_CALM, UNDONE),
    Mutant("a wait that is given up may have happened", WAITED_IN_CALM, UNDONE),
    Mutant("an undo too early leaves no doubt", WAITED_UNDO, UNDONE),
    Mutant("turning back ends waits", WAITED_IN_CALM, "turning back waits for nobody"),
)
