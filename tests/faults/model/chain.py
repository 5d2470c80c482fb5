"""The compensations: one chain, made once, and anew. Names follow the originals."""

from collections.abc import Sequence

from tests.faults.model import deciding
from tests.faults.model.rows import Rows, require
from tests.faults.model.state import (
    FAILED,
    IN_FLIGHT,
    PENDING,
    READY,
    SHUT,
    SKIPPED,
    SUCCEEDED,
    UNKNOWN,
    Row,
)


MAY_HAVE_HAPPENED = frozenset({SUCCEEDED, UNKNOWN})
OVER = frozenset({SUCCEEDED, SKIPPED, SHUT})
NOBODY = -1


class Chain(Rows):
    """A saga whose steps are undone one after the other."""

    def to_undo(self) -> list[int]:
        """``compensate.to_undo``."""
        rows = self.forward()
        happened = MAY_HAVE_HAPPENED if self.keeps("the unknown is undone") else {SUCCEEDED}
        order = deciding.undo_order(self.plan.following, tuple(row.ended for row in rows))
        chain = [
            index
            for index in order
            if rows[index].state in happened and index not in self.plan.no_compensation
        ]
        if not self.keeps("the last is undone first"):
            chain.reverse()
        return chain

    def weave(self, wanted: Sequence[int], *, again: int = NOBODY, anew: bool = False) -> None:
        """``undo_chain.weave``."""
        there = self.backward()
        if not there:
            self._insert_chain(wanted)
            return
        in_flight = [i for i in there if self.row(i).state in IN_FLIGHT and i != self._undo(again)]
        planned = [self._planned(step, len(there) + place) for place, step in enumerate(wanted)]
        chain = [index for index in planned if index not in in_flight]
        for index in there:
            needed = {*planned, *in_flight}
            if self.keeps("an undo that failed stays in sight"):
                needed |= {i for i in there if self.row(i).state in {FAILED, UNKNOWN}}
            if index not in needed and self.row(index).state not in OVER:
                self.leave_out(index)
        self._place(chain, in_flight, again=again, anew=anew)
        self.count(1 if chain else len(in_flight))

    def _undo(self, step: int) -> int:
        return NOBODY if step == NOBODY else self.plan.size + step

    def _planned(self, step: int, place: int) -> int:
        index = self._undo(step)
        if self.rows[index] is None:
            self.rows[index] = Row(position=place)
        return index

    def _place(
        self, chain: Sequence[int], in_flight: Sequence[int], *, again: int, anew: bool
    ) -> None:
        for index in in_flight:
            self.put(index, pending_predecessors=0, successors=tuple(chain[:1]))
        for place, index in enumerate(chain):
            pending_predecessors = 1 if place else len(in_flight)
            was_ready = self.row(index).state == READY
            repeated = index == self._undo(again)
            begins_anew = anew or (repeated and self.keeps("an undo that waits begins anew too"))
            to = PENDING if pending_predecessors else READY
            following = tuple(chain[place + 1 : place + 2])
            self.reset(index, to, pending_predecessors, anew=begins_anew, successors=following)
            self.put(index, position=place)
            if not pending_predecessors and (begins_anew or not was_ready):
                self.put(index, sent=True)

    def _insert_chain(self, wanted: Sequence[int]) -> None:
        require("there is one undo chain", not self.backward())
        self.count(1)
        for position, step in enumerate(wanted):
            following = wanted[position + 1 : position + 2]
            ready = position == 0 or not self.keeps("one is undone after the other")
            self.rows[self._undo(step)] = Row(
                state=READY if ready else PENDING,
                pending_predecessors=0 if ready else 1,
                successors=tuple(self._undo(f) for f in following),
                position=position,
                sent=ready,
            )

    def leave_out(self, index: int) -> None:
        """``transitions.leave_out``."""
        begun = self.row(index).state not in {PENDING, READY}
        self.step_arrow(index, SKIPPED if begun else SHUT)
