"""The trace that is simulated: reactions in a chain and side by side, one of which can be asked.

``first`` → {``second``, which is asked and not repeated ∥ ``third``} → after ``second`` comes ``fourth``.
"""

from dataclasses import dataclass, field, replace

from sagas import Event, on_event, publish
from sagas.definitions import RunPlan, StepDefinition, registry
from tests.faults.simulation.sagas import Outside, Receipt


def act(event: Event[int], name: str) -> Receipt:
    """Have the effect of a reaction."""
    receipt = Receipt(name)
    Outside.world.act(event, f"tests.{name}")
    return receipt


def undo(event: Event[int], name: str, receipt: Receipt | None) -> None:
    """Undo it; a result that is given is the reaction's own."""
    assert receipt in {None, Receipt(name)}
    Outside.world.act(event, f"undo tests.{name}")


@on_event("SimulatedBegan", max_retries=1, retry_jitter=False)
def first(event: Event[int]) -> Receipt:
    """Publish before the effect: nobody may hear of it unless the attempt succeeds."""
    publish("SimulatedFirst", event.data + 1)
    return act(event, "first")


@first.compensation(max_retries=1)
def undo_first(event: Event[int], receipt: Receipt | None) -> None:
    undo(event, "first", receipt)


@on_event("SimulatedFirst", max_retries=0)
def second(event: Event[int]) -> Receipt:
    receipt = act(event, "second")
    publish("SimulatedSecond", event.data + 1, key="the second")
    return receipt


@second.compensation(max_retries=0)
def undo_second(event: Event[int], receipt: Receipt | None) -> None:
    undo(event, "second", receipt)


@second.reconcile
def find_second(event: Event[int]) -> Receipt | None:
    if not Outside.world.has(event.idempotency_key):
        return None
    publish("SimulatedSecond", event.data + 1, key="the second")
    return Receipt("second")


@on_event("SimulatedFirst", max_retries=1, retry_jitter=False)
def third(event: Event[int]) -> Receipt:
    return act(event, "third")


@third.compensation(max_retries=0)
def undo_third(event: Event[int], receipt: Receipt | None) -> None:
    undo(event, "third", receipt)


@on_event("SimulatedSecond", max_retries=1, retry_jitter=False)
def fourth(event: Event[int]) -> Receipt:
    assert event.data == 3
    return act(event, "fourth")


@fourth.compensation(max_retries=0)
def undo_fourth(event: Event[int], receipt: Receipt | None) -> None:
    undo(event, "fourth", receipt)


AFTER = {
    "tests.first": (),
    "tests.second": ("tests.first",),
    "tests.third": ("tests.first",),
    "tests.fourth": ("tests.second",),
}


@dataclass(frozen=True)
class WholeTrace:
    """All reactions together, as the laws ask a saga's definition."""

    steps: tuple[StepDefinition, ...]
    run_plan: RunPlan = field(default_factory=RunPlan)

    def step(self, name: str) -> StepDefinition:
        """Return one by its name."""
        return next(step for step in self.steps if step.name == name)


class _Definition:
    def __get__(self, _: object, __: type) -> WholeTrace:
        events = ("SimulatedBegan", "SimulatedFirst", "SimulatedSecond")
        declared = [registry.get(f"events.{event}").definition.steps for event in events]
        steps = (step for each in declared for step in each)
        return WholeTrace(tuple(replace(step, after=AFTER[step.name]) for step in steps))


class Trace:
    """Stands where a saga does."""

    definition = _Definition()
