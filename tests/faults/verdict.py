"""Compares how a saga ended with what its handlers did, by a ledger outside the system."""

from collections.abc import Iterator
from itertools import groupby

from django.contrib.auth.models import Group

from sagas.models import SagaRun, StepRun
from sagas.states import EventType, SagaState, StepState
from tests.flows import ledger


PLAIN = ("first", "third")
"""The undoable steps whose effects stand in the ledger."""
LAST = "last"
HELD = "third"
"""The step that an operator has the last word on."""


def violations(
    run: SagaRun, book: str, legal_ends: frozenset[str], *, late: bool = False
) -> list[str]:
    """Return what is wrong with an ended saga; nothing, if nothing is.

    ``late``: an attempt may have acted after it was given up. What it did must be undone after that.
    """
    if run.state not in legal_ends:
        wanted = " or ".join(sorted(legal_ends))
        return [f"it is {run.state} and not {wanted}: {run.explain()} {_history(run)}"]
    entries = ledger.read(book)
    found = [*_keys(run, entries), *_rows(run), *_booked(run)]
    if run.state == SagaState.COMPLETED:
        found += [*_completed(entries), *_outcomes(run)]
    else:
        # What was not known to stand when all else was undone is undone when somebody tells of it.
        reopened = run.events.filter(type=EventType.REOPENED).exists()
        found += _undone(entries, late=late, ordered=not reopened)
    return found and [*found, _history(run)]


def _keys(run: SagaRun, entries: list[ledger.Entry]) -> Iterator[str]:
    for entry in entries:
        undo = ":undo" if entry.phase == "backward" else ""
        if entry.key != f"{run.pk}:{entry.what}{undo}":
            yield f"{entry.phase} {entry.what} used the key {entry.key}"


def _rows(run: SagaRun) -> Iterator[str]:
    steps = StepRun.objects.filter(run=run)
    open_ = (StepState.PENDING, StepState.READY, StepState.RUNNING, StepState.WAITING)
    for step in steps.filter(state__in=open_):
        yield f"{step} is {step.state} in an ended saga"
    for step in steps.backward().exclude(state=StepState.SUCCEEDED):
        yield f"{step} is {step.state} in an ended saga"


def _booked(run: SagaRun) -> Iterator[str]:
    """The atomic step wrote a row: exactly once, or not at all."""
    key = f"{run.pk}:booked"
    done = Group.objects.filter(name__startswith=f"{key} ").count()
    undone = Group.objects.filter(name__startswith=f"{key}:undo ").count()
    if run.state == SagaState.COMPLETED and (done, undone) != (1, 0):
        yield f"the atomic step took effect {done} times and was undone {undone} times"
    if run.state != SagaState.COMPLETED and (done, undone) not in {(0, 0), (1, 1)}:
        yield f"the atomic step took effect {done} times and was undone {undone} times"


def _outcomes(run: SagaRun) -> Iterator[str]:
    """Of several attempts, one outcome counts."""
    for step in StepRun.objects.forward().filter(run=run, critical=True):
        told = run.events.filter(step=step, to_state=StepState.SUCCEEDED).count()
        if told != 1:
            yield f"{step} succeeded {told} times"


def _completed(entries: list[ledger.Entry]) -> Iterator[str]:
    for name in {*PLAIN, LAST} - {e.what for e in entries if e.phase == "forward"}:
        yield f"it is completed, and {name} never took effect"
    for entry in entries:
        if entry.phase == "backward":
            yield f"it is completed, and {entry.what} was undone"


def _undone(entries: list[ledger.Entry], *, late: bool, ordered: bool) -> Iterator[str]:
    done = [e.what for e in entries if e.phase == "forward"]
    undone = [e.what for e in entries if e.phase == "backward"]
    for name in PLAIN:
        did = [n for n, e in enumerate(entries) if (e.what, e.phase) == (name, "forward")]
        undid = [n for n, e in enumerate(entries) if (e.what, e.phase) == (name, "backward")]
        if did and not undid:
            yield f"it is compensated, and {name} was not undone"
        if did and undid and max(did) > (max(undid) if late else min(undid)):
            yield f"{name} took effect after it had been undone"
    order = [*dict.fromkeys(undone)] if late else [name for name, _ in groupby(undone)]
    if ordered and order != sorted(set(undone), key=PLAIN.index, reverse=True):
        yield f"undone in the order {order}, done in the order {done}"
    if LAST in done:
        yield "it is compensated, and its last step took effect"


def _history(run: SagaRun) -> str:
    events = run.events.order_by("pk").values_list(
        "type", "step__name", "step__direction", "attempt", "note"
    )
    return "\n".join(" ".join(str(part) for part in event if part) for event in events)
