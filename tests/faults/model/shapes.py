"""The sagas that the model knows by their shapes."""

from sagas import Saga, step
from tests.faults.model.state import Plan
from tests.traced import Receipt, Script, Traced


class Fork(Traced):
    """start → {left ∥ right}."""

    class Meta:
        label = "tests.ModelFork"

    @step
    def start(self) -> Receipt:
        return self.act("start")

    @start.compensation
    def undo_start(self, receipt: Receipt | None) -> None:
        self.undo("undo_start", receipt)

    @step(after=[start])
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("undo_left", receipt)

    @step(after=[start])
    def right(self) -> Receipt:
        return self.act("right")

    @right.compensation
    def undo_right(self, receipt: Receipt | None) -> None:
        self.undo("undo_right", receipt)


class Pair(Traced):
    """left ∥ right."""

    class Meta:
        label = "tests.ModelPair"

    @step
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("undo_left", receipt)

    @step(after=[])
    def right(self) -> Receipt:
        return self.act("right")

    @right.compensation
    def undo_right(self, receipt: Receipt | None) -> None:
        self.undo("undo_right", receipt)


class Join(Pair):
    """{left ∥ right} → join."""

    class Meta:
        label = "tests.ModelJoin"

    @step(after=[Pair.left, Pair.right])
    def join(self) -> Receipt:
        return self.act("join")

    @join.compensation
    def undo_join(self, receipt: Receipt | None) -> None:
        self.undo("undo_join", receipt)


class Pivot(Traced):
    """pivot → {ship ∥ tell}; telling is best effort."""

    class Meta:
        label = "tests.ModelPivot"

    @step(pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step(after=[pivot])
    def ship(self) -> Receipt:
        return self.act("ship")

    @step(after=[pivot], critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")


class Line(Traced):
    """left → right."""

    class Meta:
        label = "tests.ModelLine"

    @step
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("undo_left", receipt)

    @step(after=[left])
    def right(self) -> Receipt:
        return self.act("right")

    @right.compensation
    def undo_right(self, receipt: Receipt | None) -> None:
        self.undo("undo_right", receipt)


class Shipment(Traced):
    """pivot → ship."""

    class Meta:
        label = "tests.ModelShipment"

    @step(pivot=True)
    def pivot(self) -> Receipt:
        return self.act("pivot")

    @step(after=[pivot])
    def ship(self) -> Receipt:
        return self.act("ship")


class One(Traced):
    """left."""

    class Meta:
        label = "tests.ModelOne"

    @step
    def left(self) -> Receipt:
        return self.act("left")

    @left.compensation
    def undo_left(self, receipt: Receipt | None) -> None:
        self.undo("undo_left", receipt)


def saga_of(plan: Plan) -> type[Saga[Script]]:
    """Return the saga with this plan's shape."""
    if plan.pivot:
        return Pivot if plan.size == 3 else Shipment
    if plan.size == 1:
        return One
    if plan.size == 2:
        return Line if plan.after[1] else Pair
    return Fork if plan.after[1] else Join
