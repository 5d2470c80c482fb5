"""The family that is simulated: a saga, a step of which is a saga of its own.

``buy`` → {``wrap``, which is ``fold`` → ``seal`` ∥ ``card``} → ``give``.
"""

from dataclasses import dataclass, field, replace

from sagas import child, step
from sagas.definitions import RunPlan, StepDefinition
from tests.faults.simulation.sagas import OPTIONS, Nothing, Outside, Receipt, Simulated


class Wrapping(Simulated):
    """fold → seal; both are undone."""

    class Meta:
        label = "tests.SimulatedWrapping"
        step_defaults = OPTIONS

    @step
    def fold(self) -> Receipt:
        return self.act("fold")

    @fold.compensation(max_retries=1)
    def undo_fold(self, receipt: Receipt | None) -> None:
        self.undo("fold", receipt)

    @step
    def seal(self) -> Receipt:
        return self.act("seal")

    @seal.compensation(max_retries=0)
    def undo_seal(self, receipt: Receipt | None) -> None:
        self.undo("seal", receipt)


class Gift(Simulated):
    """buy → {wrap, which is a saga of its own ∥ card} → give."""

    class Meta:
        label = "tests.SimulatedGift"
        step_defaults = OPTIONS

    @step
    def buy(self) -> Receipt:
        return self.act("buy")

    @buy.compensation(max_retries=1)
    def undo_buy(self, receipt: Receipt | None) -> None:
        self.undo("buy", receipt)

    @child(Wrapping, after=[buy])
    def wrap(self) -> Nothing:
        Outside.world.meet("wrap")
        return Nothing()

    @step(after=[buy])
    def card(self) -> Receipt:
        return self.act("card")

    @card.compensation(max_retries=1)
    def undo_card(self, receipt: Receipt | None) -> None:
        self.undo("card", receipt)

    @step(after=[wrap, card])
    def give(self) -> Receipt:
        return self.act("give")

    @give.compensation(max_retries=0)
    def undo_give(self, receipt: Receipt | None) -> None:
        self.undo("give", receipt)


CHILD = "wrap"
"""The step that is a saga, which has no effect but those of that saga's steps."""

OF_THE_CHILD = frozenset({"fold", "seal"})

AFTER = {
    "buy": (),
    "fold": ("buy",),
    "seal": ("fold",),
    "card": ("buy",),
    "give": ("seal", "card"),
}


@dataclass(frozen=True)
class WholeFamily:
    """All steps that have an effect together, as the laws ask a saga's definition."""

    steps: tuple[StepDefinition, ...]
    run_plan: RunPlan = field(default_factory=RunPlan)

    def step(self, name: str) -> StepDefinition:
        """Return one by its name."""
        return next(step for step in self.steps if step.name == name)


class _Definition:
    def __get__(self, _: object, __: type) -> WholeFamily:
        steps = (*Gift.definition.steps, *Wrapping.definition.steps)
        acting = {step.name: step for step in steps if step.name in AFTER}
        return WholeFamily(tuple(replace(acting[name], after=AFTER[name]) for name in AFTER))


class Family:
    """Stands where a saga does."""

    definition = _Definition()
