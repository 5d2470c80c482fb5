"""A trace grows: what is published in it becomes rows, in the transaction of the outcome."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagas.choreography import PublishedEvent, subscribers
from sagas.definitions.plan import PlanRow, planned_steps
from sagas.engine import transitions
from sagas.exceptions import TraceTooLong
from sagas.models import StepRun


MAX_STEPS = 1000
"""Of one trace, its events with them."""

MAX_DEPTH = 100
"""How many reactions one after the other lead to another one."""


def publish_in(
    change: transitions.RunChange, published: Iterable[PublishedEvent], *, by: StepRun | None = None
) -> TraceTooLong | None:
    """Record events of a trace, and make what reacts to them ready; ``by`` is who published them.

    Returns why the trace cannot go on, if it is too long; nothing is written then.
    """
    places = transitions.places_in_trace(change)
    completed = [*_before(by), by.name] if by else []
    events = [
        _rows(change, event, suffix, step=by.name if by else "", completed_steps=completed)
        for event, suffix in _new(change, published, places)
    ]
    if len(completed) > MAX_DEPTH:
        return TraceTooLong(f"more than {MAX_DEPTH} reactions followed one another")
    if len(places) + sum(1 + len(reactions) for _, reactions in events) > MAX_STEPS:
        return TraceTooLong(f"the trace would have more than {MAX_STEPS} steps")
    if events:
        transitions.insert_events(change, events, first_place=_next(places))
    if events and by is not None:
        transitions.follow(by, [event for event, _ in events])
    return None


def record_failure(
    change: transitions.RunChange, published: Iterable[PublishedEvent], *, by: StepRun
) -> None:
    """Record the failure events of ``by``. No reaction to them begins: what happened is undone."""
    places = transitions.places_in_trace(change)
    rows = [
        transitions.event_row(
            change.run,
            event.name + suffix,
            event.carried(step=by.name, completed_steps=_before(by)),
            failed=True,
        )
        for event, suffix in _new(change, published, places)
    ]
    transitions.insert_events(change, [(row, ()) for row in rows], first_place=_next(places))


def _rows(
    change: transitions.RunChange,
    event: PublishedEvent,
    suffix: str,
    *,
    step: str,
    completed_steps: Sequence[str],
) -> tuple[StepRun, list[StepRun]]:
    """Return the row of an event, and those of the reactions to it, not inserted yet."""
    run, carried = change.run, event.carried(step=step, completed_steps=completed_steps)
    reacting = subscribers(event.name)
    declared = () if reacting is None else reacting.definition.steps
    planned = planned_steps(
        [
            PlanRow(name=each.name + suffix, definition=each, after=(), saga=event.label)
            for each in declared
        ],
        in_place=False,
    )
    reactions = [transitions.reaction_row(run, each, carried) for each in planned]
    return transitions.event_row(run, event.name + suffix, carried, failed=False), reactions


def _next(places: Mapping[str, int]) -> int:
    return max(places.values(), default=-1) + 1


def _before(step: StepRun) -> Sequence[str]:
    """Return the reactions that led to a reaction."""
    carried: dict[str, Any] = step.input or {}
    before: list[str] = carried.get("completed_steps", [])
    return before


def _new(
    change: transitions.RunChange, published: Iterable[PublishedEvent], taken: Iterable[str]
) -> list[tuple[PublishedEvent, str]]:
    """Return the events that this trace has not had, with what their rows' names end with."""
    new: list[tuple[PublishedEvent, str]] = []
    taken = set(taken)
    for event in published:
        began_it = (event.label, event.key) == (change.run.label, change.run.key)
        suffix = "" if began_it else _suffix(event, taken)
        if event.name + suffix not in taken:
            taken.add(event.name + suffix)
            new.append((event, suffix))
    return new


def _suffix(event: PublishedEvent, taken: set[str]) -> str:
    """Return the key, or what tells an event without one from those of its name before it."""
    if event.key or event.name not in taken:
        return event.key_in_row
    numbered = (f"[#{number}]" for number in range(2, MAX_STEPS + 2))
    return next(suffix for suffix in numbered if event.name + suffix not in taken)
