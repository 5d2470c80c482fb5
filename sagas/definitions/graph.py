"""The order of steps: who follows whom, what comes before what, and cycles."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter


Predecessors = Mapping[str, tuple[str, ...]]
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


def ancestors(predecessors: Predecessors) -> dict[str, frozenset[str]]:
    """Return, by step, all that must end before it. The graph must have no cycle."""
    found: dict[str, frozenset[str]] = {}
    for name in TopologicalSorter(predecessors).static_order():
        direct = predecessors[name]
        found[name] = frozenset(direct).union(*(found[before] for before in direct))
    return found
