"""Operators: they ask for what they like, and what they say of the world is true."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    retry_step,
    rewind_saga,
    skip_step,
)
from sagas.states import ACTIVE_SAGAS, SagaState
from tests.faults.simulation.family import CHILD, OF_THE_CHILD
from tests.faults.simulation.sagas import Receipt
from tests.faults.simulation.simulated import SAGAS
from tests.faults.simulation.world import World


DEAD_LETTER = SagaState.DEAD_LETTER
WHY = "the operator wants it"

STATES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("pause", "resume"), ACTIVE_SAGAS),
    **dict.fromkeys(
        ("skip", "do it by hand", "retry step"), ACTIVE_SAGAS | {DEAD_LETTER, SagaState.COMPLETED}
    ),
    **dict.fromkeys(("retry", "resolve"), frozenset({DEAD_LETTER})),
    "cancel": frozenset({SagaState.RUNNING}),
    "compensate": frozenset({SagaState.RUNNING, DEAD_LETTER}),
    "revert": frozenset({SagaState.COMPLETED}),
    "rewind": frozenset({SagaState.RUNNING, DEAD_LETTER, SagaState.COMPLETED}),
}
"""In which states of the run a verb may be allowed."""

OF_A_STEP = frozenset({"skip", "do it by hand", "retry step", "rewind"})


@dataclass
class People:
    """Whoever has the right to decide about a run."""

    saga: str
    world: World
    decided: bool = False
    """Somebody said what is to become of a saga that stood still, or of a step."""

    def move(self, move: str, which: int, run: SagaRun) -> None:
        """Do as a scenario says; a refusal is told to them and changes nothing."""
        state = SagaRun.objects.values_list("state", flat=True).get(pk=run.pk)
        if state in STATES[move]:  # else it would be refused
            name = self._name(move, which, run) if move in OF_A_STEP else ""
            self._decide(move, run, name)

    def _name(self, move: str, which: int, run: SagaRun) -> str:
        """Choose a step: one of those that nobody has and that are not done, if there are any.

        To rewind to, one that is done or under way.
        """
        open_ones = run.steps.filter(state__in=("ready", "waiting", "failed", "unknown"))
        if move == "rewind":
            open_ones = run.steps.forward().present().exclude(state__in=("pending", "cancelled"))
        names = sorted(set(open_ones.values_list("name", flat=True)))
        if not names:
            there = set(run.steps.values_list("name", flat=True))
            steps = SAGAS[self.saga].definition.steps
            names = [step.name for step in steps if step.name in there]
        return names[which % len(names)]

    def _decide(self, move: str, run: SagaRun, name: str) -> None:
        verbs: dict[str, Any] = {
            "cancel": lambda: cancel_saga(run, reason=WHY),
            "pause": lambda: pause_saga(run, reason=WHY),
            "resume": lambda: resume_saga(run, reason=WHY),
            "resolve": lambda: resolve_saga(run, reason=WHY),
            "compensate": lambda: compensate_saga(run, reason=WHY),
            "revert": lambda: compensate_saga(run, reason=WHY, revert_completed=True),
            "rewind": lambda: self._rewind(run, name),
            "retry": lambda: retry_saga(run, reason=WHY),
            "retry step": lambda: retry_step(run, name, reason=WHY),
            "skip": lambda: self._skip(run, name, by_hand=False),
            "do it by hand": lambda: self._skip(run, name, by_hand=True),
        }
        with suppress(ActionNotAllowed):
            verbs[move]()
            self.decided = self.decided or move not in {"cancel", "pause", "resume"}

    def _rewind(self, run: SagaRun, name: str) -> None:
        rewind_saga(run, name, reason=WHY)
        self.world.rewound = True

    def settle(self, ending: str, run: SagaRun) -> None:
        """Do something about a dead letter."""
        if ending == "retry":
            self.move("retry", 0, run)
        else:
            for place in range(len(SAGAS[self.saga].definition.steps)):
                self.move("skip", place, run)

    def _skip(self, run: SagaRun, name: str, *, by_hand: bool) -> None:
        """Say how a step ended, or that it was undone by hand; and it is so."""
        rows = StepRun.objects.filter(run_id=run.pk, name=name)
        forward = rows.get(direction="forward")
        key = forward.idempotency_key
        if name == CHILD:
            self._skip_child(run, undone=rows.filter(direction="backward").exists())
        elif rows.filter(direction="backward").exists():
            skip_step(run, name, reason=WHY)
            self.world.undo(name, key)
        elif self.world.has(key) or (by_hand and not self.world.effect(name, key).undone):
            skip_step(run, name, result=Receipt(name), reason=WHY)
            self.world.do(name, key, awake=False)
            self.world.tell(key)
        else:
            skip_step(run, name, reason=WHY)
            self.world.settle(name, key)

    def _skip_child(self, run: SagaRun, *, undone: bool) -> None:
        """Say that the child is not needed, or that all of it was undone by hand; and it is so."""
        skip_step(run, CHILD, reason=WHY)
        self.world.unwanted |= OF_THE_CHILD
        for key, effect in list(self.world.effects.items()):
            if undone and effect.name in OF_THE_CHILD and effect.stands:
                self.world.undo(effect.name, key)
