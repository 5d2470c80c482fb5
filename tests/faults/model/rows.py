"""The rows of one saga under change, and the promises that a change can break."""

from sagas.states import SAGA_ARROWS, STEP_ARROWS, SagaState, StepState
from tests.faults.model.state import IN_FLIGHT, READY, RUNNING, Plan, Row, Run, State, Worker


class Violation(Exception):
    """A promise is broken; ``promise`` says which."""

    def __init__(self, promise: str, detail: str = "") -> None:
        super().__init__(f"{promise}: {detail}" if detail else promise)
        self.promise = promise


def require(promise: str, kept: bool, detail: str = "") -> None:  # noqa: FBT001
    """Raise :class:`Violation` unless the promise is kept."""
    if not kept:
        raise Violation(promise, detail)


class Rows:
    """A state under change: thawed from one, frozen to the next."""

    def __init__(self, plan: Plan, state: State) -> None:
        self.plan = plan
        self.run: Run = state.run
        self.rows: list[Row | None] = list(state.rows)
        self.workers: list[Worker] = list(state.workers)
        self.world: list[str] = list(state.world)
        self.parties: list[str] = list(state.parties)

    def frozen(self) -> State:
        """Return the state as it stands now."""
        workers, world, parties = tuple(self.workers), tuple(self.world), tuple(self.parties)
        return State(self.run, tuple(self.rows), workers, world, parties)

    def keeps(self, guard: str) -> bool:
        """Whether this guard has not been taken out."""
        return guard not in self.plan.without

    def row(self, index: int) -> Row:
        """Return a row that exists."""
        row = self.rows[index]
        assert row is not None
        return row

    def put(self, index: int, **columns: object) -> None:
        """Update a row; one that no attempt is to be made of is not being reconciled."""
        ends = columns.get("state", READY) not in {READY, RUNNING}
        if ends and self.keeps("a retry acts and does not ask"):
            columns["reconcile_attempts"] = None
        self.rows[index] = self.row(index)._replace(**columns)  # type: ignore[arg-type]

    def is_backward(self, index: int) -> bool:
        """Whether this is the row of a compensation."""
        return index >= self.plan.size

    def forward(self) -> list[Row]:
        """Return the rows of the steps themselves."""
        return [self.row(index) for index in range(self.plan.size)]

    def backward(self) -> list[int]:
        """Return the compensations, in the order of the chain."""
        there = [i for i in range(self.plan.size, 2 * self.plan.size) if self.rows[i] is not None]
        return sorted(there, key=lambda i: self.row(i).position)

    def now(self) -> int:
        """Return a moment after all that the rows know of."""
        return 1 + max(row.ended for row in self.rows if row is not None)

    def move(self, to: SagaState) -> None:
        """Move the run along a legal arrow."""
        came_from = SagaState(self.run.state)
        # Only a rewind that is given up stays where it is, and nothing here rewinds.
        legal = to in SAGA_ARROWS[came_from] - {came_from}
        require("only legal arrows", legal, f"{came_from} → {to}")
        self.run = self.run._replace(state=to.value)

    def count(self, remaining: int) -> None:
        """``transitions.restart_count``."""
        self.run = self.run._replace(remaining=remaining)

    def step_arrow(self, index: int, to: str, **columns: object) -> None:
        """Move a step along a legal arrow."""
        came_from = StepState(self.row(index).state)
        require("only legal arrows", StepState(to) in STEP_ARROWS[came_from], f"{came_from} → {to}")
        self.put(index, state=to, **columns)

    def fresh_life(self, index: int) -> dict[str, object]:
        """``transitions.insert.fresh_life``."""
        columns: dict[str, object] = {"attempt": 0, "answer": "", "ended": 0}
        if self.keeps("a retry acts and does not ask"):
            columns["reconcile_attempts"] = None
        if self.row(index).follow == "left":
            columns["follow"] = "hand"  # its own time begins anew
        if self.is_backward(index) and self.keeps("a second life inherits no progress"):
            columns["progress"] = False
        return columns

    def reset(
        self,
        index: int,
        to: str,
        pending_predecessors: int,
        *,
        anew: bool = False,
        successors: tuple[int, ...] | None = None,
    ) -> None:
        """``transitions.reset``."""
        came_from = self.row(index).state
        if came_from != to or (anew and to not in IN_FLIGHT):
            if came_from != to:
                self.step_arrow(index, to)
            self.put(index, sent=False, **self.fresh_life(index))
        self.put(index, pending_predecessors=pending_predecessors)
        if successors is not None:
            self.put(index, successors=successors)
        if anew and to == READY:
            self.put(index, sent=True)
