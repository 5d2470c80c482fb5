"""The sagas that are searched, and what may go wrong with each.

Everything at once is too much for one search, so each adds one kind of trouble to the rest. The
``FAST`` ones belong to every run of the tests; the ``THOROUGH`` ones to ``make faults``.
"""

from dataclasses import replace

from tests.faults.model.state import Plan


_FORK = Plan(name="start → {left ∥ right}", after=((), (0,), (0,)))
_JOIN = Plan(name="{left ∥ right} → join", after=((), (), (0, 1)))
_PAIR = Plan(name="left ∥ right", after=((), ()))
_PIVOT = Plan(
    name="pivot → {ship ∥ tell}",
    after=((), (0,), (0,)),
    pivot=frozenset({0}),
    best_effort=frozenset({2}),
    no_compensation=frozenset({0, 1, 2}),
)
_CALM = {"can_cancel": False, "can_expire": False, "operator_retries": 0}


def _plan(base: Plan, trouble: str, **changes: object) -> Plan:
    return replace(base, name=f"{base.name}, {trouble}", **changes)  # type: ignore[arg-type]


LOST_MESSAGES = _plan(_FORK, "messages lost", **_CALM)
TURNED_BACK = _plan(_FORK, "deadline and cancel", loses=False, max_retries=0, operator_retries=0)
RETRIED = _plan(_FORK, "retried by hand", loses=False, max_retries=0, can_cancel=False)
JOINED = _plan(_JOIN, "deadline and retry", loses=False, max_retries=0, can_cancel=False)
CONTINUED = _plan(
    _FORK,
    "undoing goes on past a failure",
    loses=False,
    max_retries=0,
    can_cancel=False,
    can_expire=False,
    operator_retries=0,
    continue_undoing=True,
)
PIVOTED = _plan(_PIVOT, "deadline, cancel and retry", loses=False)
ASKED = _plan(
    _FORK,
    "one step asked about",
    loses=False,
    max_retries=0,
    can_cancel=False,
    operator_retries=0,
    reconcile=frozenset({1}),
)
ASKED_PIVOT = _plan(
    _PIVOT, "pivot asked about", loses=False, max_retries=0, reconcile=frozenset({0})
)
ASKED_AFTER_PIVOT = _plan(
    _PIVOT, "a later step asked about", loses=False, max_retries=0, reconcile=frozenset({1})
)
ASKED_IN_CALM = replace(
    ASKED_AFTER_PIVOT,
    name=f"{ASKED_AFTER_PIVOT.name}, nothing else",
    workers=1,
    can_cancel=False,
    can_expire=False,
)
PAIR = Plan(
    name="left ∥ right, both late, undone side by side and retried",
    after=((), ()),
    workers=3,
    loses=False,
    max_retries=0,
    can_cancel=False,
    can_expire=False,
)
OPTIONAL = Plan(
    name="pay → {mail ∥ archive}, which are best effort, and the deadline",
    after=((), (0,), (0,)),
    best_effort=frozenset({1, 2}),
    waits=frozenset({2}),
    loses=False,
    can_cancel=False,
    operator_retries=0,
)
REFUSING = _plan(_FORK, "outside refuses what was undone", loses=False, refusing=True, **_CALM)

WAITED = _plan(
    _PAIR,
    "one left to an outside party",
    loses=False,
    max_retries=0,
    can_expire=False,
    operator_retries=0,
    waits=frozenset({0}),
)
WAITED_IN_CALM = _plan(WAITED, "one worker", workers=1)
WAITED_AND_ASKED = _plan(WAITED, "which can be asked", reconcile=frozenset({0}))
WAITED_UNDO = _plan(
    WAITED,
    "and its undoing, one worker",
    waits=frozenset({0, 2}),
    can_cancel=False,
    undo_retries=1,
    workers=1,
)
WAITED_UNDO_RETRIED = replace(
    WAITED_UNDO, name=f"{WAITED_UNDO.name}, retried by hand", undo_retries=0, operator_retries=1
)
WAITED_AFTER_PIVOT = _plan(
    _PIVOT, "shipping left to an outside party", loses=False, max_retries=0, waits=frozenset({1})
)

LOST_ONCE = _plan(LOST_MESSAGES, "each step once", max_retries=0)

FAST = (LOST_ONCE, WAITED_IN_CALM)

NAMED = (
    REFUSING,
    OPTIONAL,
    LOST_MESSAGES,
    TURNED_BACK,
    JOINED,
    PIVOTED,
    ASKED,
    RETRIED,
    CONTINUED,
    ASKED_PIVOT,
    ASKED_AFTER_PIVOT,
    WAITED,
    WAITED_AND_ASKED,
    WAITED_UNDO,
    WAITED_UNDO_RETRIED,
    WAITED_AFTER_PIVOT,
)

THOROUGH = (
    *NAMED,
    LOST_ONCE,
    PAIR,
    WAITED_IN_CALM,
    _plan(_FORK, "everything, each step once", max_retries=0),
    replace(
        CONTINUED, name=f"{CONTINUED.name}, one worker, retried", workers=1, operator_retries=1
    ),
    _plan(_FORK, "everything, steps retried", loses=False),
    _plan(_FORK, "compensations retried", loses=False, max_retries=0, undo_retries=1),
    _plan(_FORK, "three workers", loses=False, max_retries=0, workers=3, can_cancel=False),
    _plan(_JOIN, "everything, each step once", max_retries=0),
    _plan(_JOIN, "everything, steps retried", loses=False),
    _plan(_PIVOT, "everything", reconcile=frozenset({1})),
    _plan(_FORK, "asked, steps retried", loses=False, reconcile=frozenset({1})),
)
