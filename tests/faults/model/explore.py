"""Breadth first through every state; then backwards from the ends, to find what is stuck."""

import gc
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sagas.states import SagaState
from tests.faults.model.actions import Action, after, possible
from tests.faults.model.invariants import check, is_final, is_settled
from tests.faults.model.rows import Violation
from tests.faults.model.state import Plan, State, canonical


NOT_STUCK = "from everywhere an end is reached when nothing more goes wrong"
NOT_HOPELESS = "a dead letter that is retried reaches an end when nothing more goes wrong"
"""And whoever is asked answers. Not to be stuck, nobody outside need say a word."""


@dataclass
class Search:
    """What was found; ``broken`` is empty when every promise held."""

    plan: Plan
    states: list[State] = field(default_factory=list)
    transitions: int = 0
    broken: str = ""
    trace: list[Action] = field(default_factory=list)

    def __str__(self) -> str:
        found = f"{self.plan.name}: {len(self.states):,} states, {self.transitions:,} transitions"
        if not self.broken:
            return found
        steps = "\n".join(f"  {action}" for action in self.trace)
        return f"{found}\nbroken: {self.broken}\n{steps}\n  {self.states[-1]}"


def explore(plan: Plan, *, limit: int = 5_000_000) -> Search:
    """Search until a promise is broken or nothing new is found."""
    return _Explorer(plan, limit).search()


class _Explorer:
    def __init__(self, plan: Plan, limit: int) -> None:
        self.found = Search(plan)
        self.limit = limit
        self.numbers: dict[State, int] = {}
        self.parents = array("q")
        self.by: list[Action | None] = []
        self.helps_from, self.helps_to = array("q"), array("q")
        self.hope_from, self.hope_to = array("q"), array("q")

    def search(self) -> Search:
        states = self.found.states
        gc.disable()  # nothing here is cyclic, and looking for it costs more than the search
        try:
            self._number(canonical(self.found.plan.first(), self.found.plan), -1, None)
            number = 0
            while number < len(states):
                self._expand(number)
                number += 1
                assert number < self.limit, f"more than {self.limit:,} states"
        except _Found:
            return self.found
        finally:
            gc.enable()
        self._look_for_stuck()
        return self.found

    def _expand(self, number: int) -> None:
        plan, state = self.found.plan, self.found.states[number]
        for action in possible(plan, state):
            self.found.transitions += 1
            try:
                to = self._number(canonical(after(plan, state, action), plan), number, action)
            except Violation as violation:
                self._report(violation.promise, number, action)
            if action.is_help:
                self.hope_from.append(number)
                self.hope_to.append(to)
            elif not action.is_fault and to != number:
                self.helps_from.append(number)
                self.helps_to.append(to)

    def _number(self, state: State, parent: int, action: Action | None) -> int:
        number = self.numbers.setdefault(state, len(self.numbers))
        if number == len(self.found.states):
            check(self.found.plan, state)
            self.found.states.append(state)
            self.parents.append(parent)
            self.by.append(action)
        return number

    def _report(self, promise: str, number: int, action: Action | None = None) -> None:
        trace = [action] if action else []
        self.found.states.append(self.found.states[number])
        while number > 0:
            by = self.by[number]
            assert by is not None
            trace.append(by)
            number = self.parents[number]
        self.found.broken = promise
        self.found.trace = trace[::-1]
        raise _Found

    def _look_for_stuck(self) -> None:
        states, plan = self.found.states, self.found.plan
        try:
            settled = self._reaching(is_settled, (self.helps_from, self.helps_to))
            self._require_all(NOT_STUCK, settled, range(len(states)))
            helps = self.helps_from + self.hope_from, self.helps_to + self.hope_to
            ended = self._reaching(is_final, helps)
            hopeful = (
                number
                for number, state in enumerate(states)
                if state.run.state == SagaState.DEAD_LETTER
                and state.run.retries < plan.operator_retries
            )
            self._require_all(NOT_HOPELESS, ended, hopeful)
        except _Found:
            return

    def _require_all(self, promise: str, reached: bytearray, numbers: Iterable[int]) -> None:
        for number in numbers:
            if not reached[number]:
                self._report(promise, number)

    def _reaching(
        self, is_end: Callable[[State], bool], edges: tuple["array[int]", "array[int]"]
    ) -> bytearray:
        """Mark the states from which an end is reached by these edges."""
        states = self.found.states
        before: dict[int, list[int]] = {}
        for came_from, to in zip(*edges, strict=True):
            before.setdefault(to, []).append(came_from)
        reached = bytearray(len(states))
        todo = [number for number, state in enumerate(states) if is_end(state)]
        while todo:
            number = todo.pop()
            if not reached[number]:
                reached[number] = 1
                todo += before.get(number, ())
        return reached


class _Found(Exception):
    """A promise is broken; the search is over."""
