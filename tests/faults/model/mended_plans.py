"""Small sagas, each for one kind of fault that was found once: the least that shows it, searched whole."""

from tests.faults.model.state import Plan


_CALM = {"can_cancel": False, "can_expire": False, "operator_retries": 0, "loses": False}
_ONE: tuple[tuple[int, ...], ...] = ((),)
_LINE: tuple[tuple[int, ...], ...] = ((), (0,))
_PAIR: tuple[tuple[int, ...], ...] = ((), ())


def _plan(name: str, after: tuple[tuple[int, ...], ...], **changes: object) -> Plan:
    return Plan(name=name, after=after, **{**_CALM, "max_retries": 0, **changes})  # type: ignore[arg-type]


LATE_WORDS = _plan("left → right, late words", _LINE)
CONDITION = _plan(
    "left → right, left on a condition", _LINE, conditions=frozenset({0}), max_retries=1
)
SKIPPED_BY_HAND = _plan(
    "left → right, left skipped by hand", _LINE, skips=frozenset({0}), max_retries=1
)
UNDONE_BY_HAND = _plan("left ∥ right, right undone by hand", _PAIR, skips=frozenset({3}))
SKIPPED_PIVOT = _plan(
    "pivot → ship, the pivot skipped by hand",
    _LINE,
    pivot=frozenset({0}),
    no_compensation=frozenset({0, 1}),
    skips=frozenset({0}),
    can_expire=True,
    operator_retries=1,
)
PROGRESS = _plan(
    "left, whose undoing tells of its progress", _ONE, beats=frozenset({1}), undo_retries=1
)
PUT_BACK = _plan(
    "left ∥ right, right put back", _PAIR, misfits=frozenset({1}), can_expire=True, can_cancel=True
)
AT_LARGE = _plan(
    "left, asked about while an attempt is at large",
    _ONE,
    refusing=True,
    reconcile=frozenset({0}),
    knows_the_dead=True,
    can_expire=True,
    max_retries=1,
)
HELD = _plan(
    "left ∥ right, right holds",
    _PAIR,
    holds=frozenset({1}),
    skips=frozenset({1}),
    releases=True,
    operator_retries=1,
)
TRIED_AGAIN = _plan(
    "left → right, right is best effort and tried again by hand",
    _LINE,
    best_effort=frozenset({1}),
    tries=frozenset({1}),
    can_expire=True,
)
UNDO_RETRIED = _plan("left → right, undoing is tried again, late words", _LINE, undo_retries=1)

SMALL = (
    LATE_WORDS,
    CONDITION,
    SKIPPED_BY_HAND,
    UNDONE_BY_HAND,
    SKIPPED_PIVOT,
    PROGRESS,
    PUT_BACK,
    AT_LARGE,
    HELD,
    TRIED_AGAIN,
    UNDO_RETRIED,
)
