"""The order of steps: who follows whom, what comes before what, and cycles."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


Predecessors = Mapping[str, Sequence[str]]
"""By step, the steps that it waits for."""


def successors(predecessors: Predecessors) -> dict[str, tuple[str, ...]]:
    """Return, by step, the steps that wait for it, in declared order."""
    followers: dict[str, list[str]] = {name: [] for name in predecessors}
    for name, before in predecessors.items():
        for predecessor in before:
            followers[predecessor].append(name)
    return {name: tuple(names) for name, names in followers.items()}


def cycle(predecessors: Predecessors) -> list[str] | None:
    """Return a cycle, first and last name the same, or None."""
    try:
        TopologicalSorter(predecessors).prepare()
    except CycleError as error:
        names: list[str] = error.args[1]
        return names
    return None


def passed(predecessors: Predecessors, marks: Collection[str]) -> dict[str, str]:
    """Return, by step that comes after one of ``marks``, the first such. The graph has no cycle."""
    found: dict[str, str] = {}
    for name in TopologicalSorter(predecessors).static_order():
        before = [found.get(p) or p for p in predecessors[name] if p in found or p in marks]
        if before:
            found[name] = min(before)
    return found


def before(predecessors: Predecessors, names: Iterable[str]) -> set[str]:
    """Return all that must end before one of ``names``. The graph must have no cycle."""
    found: set[str] = set()
    todo = [before for name in names for before in predecessors[name]]
    while todo:
        step = todo.pop()
        if step not in found:
            found.add(step)
            todo += predecessors[step]
    return found


def ancestors(predecessors: Predecessors) -> dict[str, frozenset[str]]:
    """Return, by step, all that must end before it. The graph must have no cycle."""
    found: dict[str, frozenset[str]] = {}
    for name in TopologicalSorter(predecessors).static_order():
        direct = predecessors[name]
        found[name] = frozenset(direct).union(*(found[before] for before in direct))
    return found
