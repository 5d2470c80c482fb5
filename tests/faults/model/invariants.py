"""What must be true in every state that can be reached."""

from collections.abc import Callable

from sagas.states import FINAL_SAGAS, SagaState
from tests.faults.model.chain import OVER
from tests.faults.model.late import ROLLED_BACK
from tests.faults.model.rows import Violation
from tests.faults.model.state import (
    DONE,
    IN_FLIGHT,
    LATE,
    PENDING,
    READY,
    SKIPPED,
    STRAY,
    SUCCEEDED,
    UNDONE,
    WAITING,
    Plan,
    Row,
    State,
)


Invariant = Callable[[Plan, State], bool]


def nothing_runs_forward_once_undoing_began(plan: Plan, state: State) -> bool:
    """While compensations exist, no forward step runs, waits or could be started."""
    undoing = any(row is not None for row in state.rows[plan.size :])
    return not undoing or all(
        row.state not in {PENDING, READY, *IN_FLIGHT} for row in forward(plan, state)
    )


def completed_means_done(plan: Plan, state: State) -> bool:
    """``completed``: every critical effect happened, and none is undone."""
    if state.run.state != SagaState.COMPLETED:
        return True
    return all(
        state.world[step] in {DONE, LATE} or row.state == SKIPPED
        for step, row in enumerate(forward(plan, state))
        if step not in plan.best_effort
    ) and all(
        effect != UNDONE or row.state == SKIPPED
        for effect, row in zip(state.world, forward(plan, state), strict=True)
    )


def rolled_back_means_undone(plan: Plan, state: State) -> bool:
    """``compensated`` or ``cancelled``: every effect is undone, but for a stray nobody told of."""
    if state.run.state not in ROLLED_BACK:
        return True
    return all(
        effect not in {DONE, LATE}
        for step, effect in enumerate(state.world)
        if step not in plan.no_compensation or step in plan.final
    )


def a_stray_needs_a_world_that_forgets(plan: Plan, state: State) -> bool:
    """Where the outside systems refuse what was undone before, not even a stray stays behind."""
    if not plan.refusing or state.run.state not in ROLLED_BACK:
        return True
    return STRAY not in state.world


def no_counter_is_wrong(plan: Plan, state: State) -> bool:
    """While a saga goes on, the counters say what a scan of the rows would say."""
    if state.run.remaining < 0:
        return False
    if state.run.state == SagaState.RUNNING:
        return _forward_counters(plan, state)
    chain = [row for row in state.rows[plan.size :] if row is not None]
    if state.run.state != SagaState.COMPENSATING or not chain or plan.continue_undoing:
        return True
    return state.run.remaining == sum(not row.successors and row.state not in OVER for row in chain)


def _forward_counters(plan: Plan, state: State) -> bool:
    rows = forward(plan, state)
    open_ = [row.state in {PENDING, READY, *IN_FLIGHT} and not row.follow for row in rows]
    pending_predecessors = all(
        row.pending_predecessors == sum(open_[before] for before in plan.after[step])
        for step, row in enumerate(rows)
        if open_[step]
    )
    last = sum(open_[step] for step in range(plan.size) if not plan.following[step])
    return pending_predecessors and state.run.remaining == last


def turning_back_waits_for_nobody(plan: Plan, state: State) -> bool:
    """A saga that undoes, or is about to, waits for no outside party to say how a step ended."""
    turned = state.run.state == SagaState.COMPENSATING
    return not turned or all(row.state != WAITING for row in forward(plan, state))


def what_is_over_waits_for_nothing(plan: Plan, state: State) -> bool:
    """A saga that ended leaves no step to be begun or waited for, but what was tried again by hand."""
    if state.run.state not in {SagaState.COMPLETED, *ROLLED_BACK}:
        return True
    rows = [row for row in state.rows if row is not None and not row.follow]
    return all(row.state not in {PENDING, READY, WAITING} for row in rows)


def before_the_pivot_only_undoing_needs_a_human(plan: Plan, state: State) -> bool:
    """Without a pivot, and steps that hold, a dead letter has a compensation that failed."""
    if plan.pivot or plan.holds or state.run.state != SagaState.DEAD_LETTER:
        return True
    return any(row is not None and row.state != SUCCEEDED for row in state.rows[plan.size :])


def forward(plan: Plan, state: State) -> list[Row]:
    """Return the rows of the steps themselves."""
    return [row for row in state.rows[: plan.size] if row is not None]


PROMISES: dict[str, Invariant] = {
    "nothing runs forward once undoing began": nothing_runs_forward_once_undoing_began,
    "completed means done": completed_means_done,
    "rolled back means undone": rolled_back_means_undone,
    "a refusing world keeps no stray": a_stray_needs_a_world_that_forgets,
    "no counter is wrong": no_counter_is_wrong,
    "turning back waits for nobody": turning_back_waits_for_nobody,
    "what is over waits for nothing": what_is_over_waits_for_nothing,
    "before the pivot only undoing needs a human": before_the_pivot_only_undoing_needs_a_human,
}


def check(plan: Plan, state: State) -> None:
    """Raise :class:`Violation` for the first promise that this state breaks."""
    for promise, holds in PROMISES.items():
        if not holds(plan, state):
            raise Violation(promise)


def is_final(state: State) -> bool:
    """Whether nothing is left to do for anyone."""
    return state.run.state in FINAL_SAGAS


def is_settled(state: State) -> bool:
    """Whether nothing is left to do for a worker."""
    return is_final(state) or state.run.state == SagaState.DEAD_LETTER
