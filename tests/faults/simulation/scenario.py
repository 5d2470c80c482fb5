"""Everything that will go wrong, said beforehand."""

from dataclasses import dataclass

from hypothesis import strategies as st


POINTS = (
    "before claim",
    "after claim",
    "before effect",
    "after effect",
    "before outcome",
    "in transaction",
    "before send",
)
"""Where a process can die or be stopped."""

KILLED, STOPPED = "killed", "stopped"
"""It is gone; or it sleeps while its lease ends and others go on, and then wakes up."""

TROUBLES = ("refused", "no answer", "no answer but done", "unknown but done")
"""What a handler meets outside."""

UNDOABLE = ("start", "left", "right", "join", "approve", "sign", "close")
HANDLERS = (*UNDOABLE, *(f"undo {step}" for step in UNDOABLE), "pivot", "ship", "tell")

MOVES = (
    "deliver",
    "deliver a copy",
    "lose",
    "sweep",
    "leases end",
    "time passes",
    "deadline",
    "cancel",
    "retry",
    "outside acts",
    "outside denies",
    "outside says",
)


@dataclass(frozen=True)
class Fault:
    """The n-th time that any process comes to this point, this happens to it."""

    point: str
    nth: int
    kind: str


@dataclass(frozen=True)
class Scenario:
    """One life of one saga."""

    saga: str
    moves: tuple[tuple[str, int], ...]
    """What happens, and to which of the messages there are."""

    faults: tuple[Fault, ...]
    troubles: tuple[tuple[str, int, str], ...]
    """What the n-th attempt of a handler meets."""

    heard: bool
    """When nothing more goes wrong, all that are asked do it and say so; else nobody says a word."""


_FAULTS = st.builds(
    Fault,
    point=st.sampled_from(POINTS),
    nth=st.integers(1, 8),
    kind=st.sampled_from((KILLED, STOPPED)),
)
_TROUBLES = st.tuples(st.sampled_from(HANDLERS), st.integers(1, 2), st.sampled_from(TROUBLES))
_OUTSIDE = ("outside acts", "outside says")
_MOVES = st.tuples(
    st.sampled_from((*["deliver"] * 12, *["sweep", "leases end"] * 2, *_OUTSIDE * 2, *MOVES)),
    st.integers(0, 4),
)

SCENARIOS = st.builds(
    Scenario,
    saga=st.sampled_from(("Trip", "Order", "Stubborn", "Asked", "Asked")),
    moves=st.lists(_MOVES, min_size=10, max_size=30).map(tuple),
    faults=st.lists(_FAULTS, min_size=2, max_size=8).map(tuple),
    troubles=st.lists(_TROUBLES, min_size=2, max_size=8).map(tuple),
    heard=st.booleans(),
)
