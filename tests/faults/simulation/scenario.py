"""Everything that will go wrong, said beforehand, by a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st

from tests.faults.simulation import sagas
from tests.faults.simulation.family import CHILD
from tests.faults.simulation.simulated import FAMILY, SAGAS, TRACE


POINTS = (
    "after claim",
    "before effect",
    "before effect",
    "after effect",
    "before outcome",
    "in transaction",
    "before send",
)
"""Where an attempt can be struck."""

KILLED, SLOW, STOPPED, FROZEN = "killed", "slow", "stopped", "frozen"
"""Its process is gone; others move meanwhile; so much that its lease ends; it sleeps to the end."""

MEETS = (
    "refused",
    "refused",
    "no answer",
    "no answer but done",
    "unknown but done",
    "unwanted",
    "a beat that cannot be stored",
    "a result that cannot be stored",
)
"""What a handler meets outside, or a condition says, or the engine makes of what it gives."""

ORDINARY = (*["deliver"] * 7, "leases end")
ROLLING = (*["deliver"] * 4, *["old delivers"] * 3, "leases end")
MOVES = (
    *["cancel", "skip", "retry step"] * 2,
    *["deadline", "compensate", "do it by hand", "retry", "pause", "resume", "resolve", "revert"],
    *["deliver a copy", "lose", "time passes"],
)
PARTIES = ("outside acts", "outside acts", "outside says", "outside says", "outside denies")
"""What happens: as a rule, to a saga now and then, and outside. Old: of the deploy before."""


@dataclass(frozen=True)
class Mishap:
    """The n-th attempt under this name: ``left``, ``undo left``, ``ask left``."""

    name: str
    nth: int
    point: str = ""
    """Where it is struck, if it is."""

    fate: str = ""
    moves: int = 0
    """How many of the moves happen while it sleeps."""

    meets: str = ""
    last: bool = False
    """It dies when it has acted, before it can say a word."""


@dataclass(frozen=True)
class Scenario:
    """One life of one saga."""

    saga: str
    remembers: bool
    """The services remember what was undone, and forbid that it is done afterwards."""

    heard: bool
    """When nothing more goes wrong, all that are asked do it and say so; else nobody says a word."""

    in_place: bool
    """A worker goes on with what follows."""

    unknown_to_old: str
    """The step that the code of the deploy before has not."""

    moves: tuple[tuple[str, int], ...]
    """What happens, and to which of those to whom it can."""

    mishaps: tuple[Mishap, ...]
    new_version: bool
    """The deploy raised the version of the saga, so that code of before leaves its runs alone."""

    ending: tuple[str, ...]
    """What humans do about dead letters when all is calm."""


def scenario(random: Random, saga: str = "") -> Scenario:
    """Make one up, of any saga or of this one. The seeds that are known are of the former."""
    saga = saga or random.choice(list(sagas.SAGAS))
    steps = SAGAS[saga].definition.steps
    names = [step.name for step in steps]
    attempts = [*names, *names, *(f"undo {step.name}" for step in steps if step.compensation)]
    attempts += [f"ask {step.name}" for step in steps if step.reconcile]
    mishaps = random.randrange(1, 5)
    rolling, unknown = random.random() < 0.25, random.choice(names)
    parts = PARTIES if saga == "Asked" else MOVES
    made_up = Scenario(
        saga=saga,
        remembers=random.random() < 0.6,
        heard=random.random() < 0.5,
        in_place=random.random() < 0.6,
        unknown_to_old=unknown,
        moves=tuple(_moves(random, ROLLING if rolling else ORDINARY, parts)),
        mishaps=(
            *_turn(random, names),
            *_deploy(random, unknown, names, rolling=rolling),
            *(_mishap(random, attempts) for _ in range(mishaps)),
        ),
        new_version=False,
        ending=tuple(random.choice(("retry", "retry", "skip")) for _ in range(3)),
    )
    made_up = replace(made_up, mishaps=(*_zombie(random, names), *made_up.mishaps))
    special = random.random()
    if special >= 0.87:
        return _rewound(random, made_up, names)
    return replace(made_up, new_version=special < 0.2)


def _rewound(random: Random, made_up: Scenario, names: list[str]) -> Scenario:
    """Let a human have a part done anew, at times while an attempt sleeps that may say its word late."""
    place = random.randrange(len(made_up.moves) + 1)
    rewinds = [("rewind", random.randrange(5)) for _ in range(random.choice((1, 1, 2)))]
    moves = (*made_up.moves[:place], *rewinds, *made_up.moves[place:])
    point = random.choice(("before effect", "before effect", "after effect"))
    fate, few = random.choice((STOPPED, STOPPED, FROZEN)), random.randrange(1, 7)
    sleeper = Mishap(random.choice(names), 1, point, fate, few)
    sleeps = random.random() < 0.5
    return replace(made_up, moves=moves, mishaps=(*[sleeper] * sleeps, *made_up.mishaps))


def _zombie(random: Random, names: list[str]) -> tuple[Mishap, ...]:
    """Let the attempt after one that sleeps be refused, so that all turns back before it wakes up."""
    if random.random() < 0.7:
        return ()
    name, moves = random.choice(names), random.choice((1, 2, 2, 3, 4, 6))
    fate = random.choice((STOPPED, STOPPED, FROZEN))
    return (
        Mishap(name, 1, "before effect", fate, moves),
        Mishap(name, 2, meets="refused"),
    )


def _moves(
    random: Random, ordinary: Sequence[str], parts: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Yield few that are out of the ordinary, so that something runs before a human ends it."""
    for _ in range(random.randrange(3, 14)):
        unusual = random.random()
        kind = MOVES if unusual < 0.15 else parts if unusual < 0.25 else ordinary
        yield random.choice(kind), random.randrange(5)


def _turn(random: Random, names: list[str]) -> tuple[Mishap, ...]:
    """Let half of them turn back where they have come far."""
    last = Mishap(random.choice(names[-2:]), nth=1, meets="refused")
    return (last,) if random.random() < 0.5 else ()


def _deploy(random: Random, unknown: str, names: list[str], *, rolling: bool) -> tuple[Mishap, ...]:
    """Let an old worker take its time before it finds that it does not know a step, and another too."""
    if not rolling or random.random() < 0.5:
        return ()
    return (
        Mishap(unknown, 1, "after claim", SLOW, moves=random.randrange(1, 7)),
        Mishap(random.choice(names), 1, "before effect", SLOW, moves=random.randrange(2, 9)),
    )


def _mishap(random: Random, names: list[str]) -> Mishap:
    struck, meets = random.choice(((True, False), (False, True), (True, True)))
    return Mishap(
        name=random.choice(names),
        nth=random.choice((1, 1, 1, 1, 2, 2, 3)),
        point=random.choice(POINTS) if struck else "",
        fate=random.choice((KILLED, SLOW, STOPPED, STOPPED, FROZEN)) if struck else "",
        moves=random.randrange(1, 7) if struck else 0,
        meets=random.choice(MEETS) if meets else "",
        last=struck and random.random() < 0.25,
    )


SCENARIOS: st.SearchStrategy[Scenario] = st.randoms(use_true_random=False).map(scenario)
"""The same for hypothesis, which shrinks what fails."""


def trace_scenario(random: Random) -> Scenario:
    """Make one up of a trace. Who says that a reaction is done by hand does not publish for it."""
    made_up = scenario(random, TRACE)
    moves = tuple(move for move in made_up.moves if move[0] not in {"skip", "do it by hand"})
    return replace(made_up, moves=moves)


TRACES: st.SearchStrategy[Scenario] = st.randoms(use_true_random=False).map(trace_scenario)


OF_THE_CHILD = (
    *["child cancel", "child skip", "child retry step"] * 2,
    *["child compensate", "child do it by hand", "child retry", "child pause", "child resume"],
    *["cancel", "deadline"] * 2,
)
"""What happens to a child, or to its parent while it is under way."""


def family_scenario(random: Random) -> Scenario:
    """Make one up of a saga with a child; processes also die between its end and the word to its parent."""
    made_up = scenario(random, FAMILY)
    moves = list(made_up.moves)
    for _ in range(random.choice((0, 1, 1, 2))):
        move = random.choice(OF_THE_CHILD), random.randrange(5)
        moves.insert(random.randrange(len(moves) + 1), move)
    of_the_child = (CHILD, f"undo {CHILD}", "fold", "seal", "undo fold", "undo seal")
    mishaps = [_mishap(random, list(of_the_child)) for _ in range(random.choice((0, 1, 2)))]
    if random.random() < 0.5:
        last = random.choice(("seal", "undo fold", "undo seal"))
        fate = random.choice((KILLED, KILLED, SLOW, STOPPED, FROZEN))
        mishaps.append(Mishap(last, 1, "before telling", fate, random.randrange(1, 7)))
    return replace(made_up, moves=tuple(moves), mishaps=(*mishaps, *made_up.mishaps))


FAMILIES: st.SearchStrategy[Scenario] = st.randoms(use_true_random=False).map(family_scenario)
"""Lives of a saga with a child."""
