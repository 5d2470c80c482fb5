"""In whatever state a saga is, what it is said to allow is what the verbs accept, and nothing else (R49).

Random lives of one saga with everything in it: branches, best effort, a step that is held when its
outcome is unknown, waits, a point of no return, attempts that are lost or late, pauses, deadlines.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import product
from random import Random
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now

from sagas import start_saga, step
from sagas.engine import recover
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import DidNotHappen, Failed, Outcome, Skipped, Succeeded, Waiting
from sagas.engine.transitions import claim
from sagas.exceptions import ActionNotAllowed, RetryCapExceeded
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    allowed_actions,
    allowed_step_actions,
    cancel_saga,
    compensate_saga,
    complete_step,
    fail_step,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    retry_step,
    rewind_saga,
    skip_step,
)
from sagas.states import IN_FLIGHT_STEPS, SagaState, StepState
from tests.driving import expire_lease, fresh
from tests.traced import Receipt, Script, Traced


pytestmark = pytest.mark.django_db(transaction=True)

ROLLED_BACK = (SagaState.COMPENSATED, SagaState.CANCELLED)
FEW = 6
MANY = 60
MOVES = 14


@pytest.fixture(autouse=True)
def _nothing_sent(messages: list[str]) -> None:
    pass


class Everything(Traced):
    """a → {held, mail → survey (best effort)} → c → pivot → ship."""

    class Meta:
        label = "tests.Everything"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def a(self) -> Receipt:
        return self.act("a")

    @a.compensation
    def undo_a(self, receipt: Receipt | None) -> None:
        self.undo("undo_a", receipt)

    @step(on_unknown="hold")
    def held(self) -> Receipt:
        return self.act("held")

    @held.compensation
    def undo_held(self, receipt: Receipt | None) -> None:
        self.undo("undo_held", receipt)

    @step(after=[a], critical=False)
    def mail(self) -> Receipt:
        return self.act("mail")

    @mail.compensation
    def undo_mail(self, receipt: Receipt | None) -> None:
        self.undo("undo_mail", receipt)

    @mail.reconcile
    def find_mail(self) -> Receipt | None:
        return None

    @step(after=[mail], critical=False)
    def survey(self) -> Receipt:
        return self.act("survey")

    survey.no_compensation("harmless")

    @step(after=[held])
    def c(self) -> Receipt:
        return self.act("c")

    @c.compensation
    def undo_c(self, receipt: Receipt | None) -> None:
        self.undo("undo_c", receipt)

    @step(after=[c, survey], pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step
    def ship(self) -> Receipt:
        return self.act("ship")


VERBS: dict[str, Callable[..., SagaRun]] = {
    "cancel": cancel_saga,
    "compensate": compensate_saga,
    "revert": partial(compensate_saga, revert_completed=True),
    "retry": retry_saga,
    "resolve": resolve_saga,
    "pause": pause_saga,
    "resume": resume_saga,
}
STEP_VERBS: dict[str, Callable[..., SagaRun]] = {
    "retry_step": retry_step,
    "rewind": rewind_saga,
    "skip_step": skip_step,
}
ANSWERS: dict[str, Callable[..., SagaRun]] = {
    "complete_step": complete_step,
    "fail_step": partial(fail_step, error="no"),
}
OUTCOMES: Sequence[Outcome] = (
    Succeeded(output={"of": "it"}),
    Failed(code="REFUSED", error="refused"),
    Failed(code="BUSY", error="busy", retryable=True),
    Failed(code="GONE", error="gone", retryable=True, in_doubt=True),
    Failed(code="UNKNOWN", error="who knows", in_doubt=True),
    Waiting(timeout=timedelta(minutes=5)),
    Waiting(),
)


class Life:
    """One saga and the attempts that are under way, of which some may have been given up."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311
        self.run = start_saga(Everything, Script(), key=str(seed))
        self.attempts: list[StepRun] = []
        self.moves: list[str] = []

    def grow_up(self) -> None:
        """Let the first steps succeed, so that lives do not all end as children."""
        for _ in range(self.random.randrange(7)):
            self.claim()
            for attempt in self.attempts:
                record_outcome(attempt, OUTCOMES[0])
            self.attempts.clear()

    def move(self) -> bool:
        """Let something happen; False when nothing did."""
        before = len(self.moves)
        happening = self.random.choices(
            (self.claim, self.end, self.lose, self.deadline, self.verb), (8, 8, 1, 0.3, 3)
        )[0]
        happening()
        return len(self.moves) > before

    def is_over(self) -> bool:
        return not self.attempts and not allowed_actions(fresh(self.run))

    def rows(self, *states: StepState) -> list[StepRun]:
        return list(StepRun.objects.filter(run=self.run, state__in=states))

    def claim(self) -> None:
        for row in self.random.sample(ready := self.rows(StepState.READY), min(1, len(ready))):
            StepRun.objects.filter(pk=row.pk).update(due_at=Now())
            attempt = claim(row.pk, row.fence, task_id="", worker="")
            self.moves.append(f"claim {row}: {attempt is not None}")
            run = fresh(self.run)
            stands = run.paused_at is not None or run.state in {SagaState.DEAD_LETTER, *ROLLED_BACK}
            assert not (stands and attempt), self.story()
            if attempt is not None:
                self.attempts.append(attempt)

    def end(self) -> None:
        if self.attempts:
            attempt = self.attempts.pop(self.random.randrange(len(self.attempts)))
            outcome = self.random.choice((*OUTCOMES, *[OUTCOMES[0]] * len(OUTCOMES)))
            if attempt.is_reconciling:
                outcome = self.random.choice((DidNotHappen(), OUTCOMES[0], OUTCOMES[3]))
            elif not attempt.is_backward and attempt.attempt == 1 and self.random.random() < 0.1:
                outcome = Skipped()
            self.moves.append(f"{attempt}: {outcome}")
            record_outcome(attempt, outcome)

    def lose(self) -> None:
        if rows := self.rows(*IN_FLIGHT_STEPS):
            row = self.random.choice(rows)
            self.moves.append(f"{row} is lost")
            expire_lease(row.pk)
            recover.end_lost_attempts(10)

    def deadline(self) -> None:
        self.moves.append("deadline")
        SagaRun.objects.filter(pk=self.run.pk).update(deadline=Now())
        recover.turn_back_expired(10)

    def verb(self) -> None:
        run = fresh(self.run)
        # Most ends would be the end of it.
        names = sorted(allowed_actions(run) & (VERBS.keys() - {"resolve", "cancel"}))
        by_step = allowed_step_actions(run, list(run.steps.all()))
        choices: list[tuple[str, Any]] = [(name, VERBS[name]) for name in names]
        choices += [
            (f"{verb} {name}", partial(by_name, STEP_VERBS[verb], name))
            for name, verbs in sorted(by_step.items())
            for verb in sorted(verbs & STEP_VERBS.keys())
        ]
        if choices:
            name, act = self.random.choice(choices)
            self.moves.append(name)
            act(run, reason="by hand")

    def story(self) -> str:
        run = fresh(self.run)
        rows = ", ".join(f"{row} {row.state}" for row in run.steps.all())
        return "\n".join((*self.moves, f"{run.state}, paused at {run.paused_at}: {rows}"))


def by_name(act: Callable[..., SagaRun], name: str, run: SagaRun, *, reason: str) -> SagaRun:
    return act(run, name, reason=reason)


def is_accepted(act: Callable[[], object]) -> bool:
    """Whether a verb is done; nothing of it stays."""
    with transaction.atomic():
        try:
            act()
        except (ActionNotAllowed, RetryCapExceeded):
            accepted = False
        else:
            accepted = True
        transaction.set_rollback(True)
    return accepted


def disagreements(run: SagaRun) -> Iterator[str]:
    """Yield each verb that is said to be allowed and refused, or the other way round."""
    said = allowed_actions(run)
    steps = list(run.steps.all())
    by_step = allowed_step_actions(run, steps)
    for name, verb in VERBS.items():
        if is_accepted(partial(verb, run, reason="x")) != (name in said):
            yield name
    for (name, verb), step_name in product(STEP_VERBS.items(), sorted({s.name for s in steps})):
        accepted = is_accepted(partial(verb, run, step_name, reason="x"))
        if accepted != (name in by_step.get(step_name, ())):
            yield f"{name} {step_name}"
    for row in steps:
        if row.state == StepState.WAITING:
            yield from unanswered(run, row, by_step.get(row.name, frozenset()))
    offered = frozenset[str]().union(*by_step.values())
    if offered != said & {*STEP_VERBS, *ANSWERS}:
        yield f"of steps {sorted(offered)} are offered, of the saga {sorted(said)}"


def unanswered(run: SagaRun, row: StepRun, offered: Collection[str]) -> Iterator[str]:
    """Yield each answer that a waiting step does not take, or that is not offered."""
    for name, verb in ANSWERS.items():
        result = (
            {"result": Receipt("it")} if name == "complete_step" and not row.is_backward else {}
        )
        if not is_accepted(partial(verb, run, str(row), reason="x", **result)):
            yield f"{name} {row}"
        if name not in offered:
            yield f"{name} {row} is not offered"


@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, id=str(n), marks=() if n < FEW else (pytest.mark.slow,)) for n in range(MANY)],
)
def test_what_is_allowed_is_what_is_accepted(seed: int) -> None:
    life = Life(seed)
    life.grow_up()
    for _ in range(MOVES):
        if life.is_over():
            return
        if life.move():
            found = list(disagreements(fresh(life.run)))
            assert not found, f"{found}\n{life.story()}"
