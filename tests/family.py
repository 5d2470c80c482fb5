"""Sagas that are steps of other sagas. All of them tell what they did in ``CALLS``."""

from sagas import child, step
from tests.traced import Receipt, Script, Traced


class Parcel(Traced):
    """pack → send; both are undone."""

    class Meta:
        label = "tests.FamilyParcel"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def pack(self) -> Receipt:
        return self.act("pack")

    @pack.compensation
    def undo_pack(self, receipt: Receipt | None) -> None:
        self.undo("undo_pack", receipt)

    @step
    def send(self) -> Receipt:
        return self.act("send")

    @send.compensation
    def undo_send(self, receipt: Receipt | None) -> None:
        self.undo("undo_send", receipt)


class Sealed(Traced):
    """seal, the point of no return → post."""

    class Meta:
        label = "tests.FamilySealed"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step(pivot=True)
    def seal(self) -> Receipt:
        return self.act("seal")

    @step
    def post(self) -> Receipt:
        return self.act("post")


class Order(Traced):
    """pay → ship, which is a saga of its own → bill."""

    class Meta:
        label = "tests.FamilyOrder"
        step_defaults = {"max_retries": 1, "retry_jitter": False}
        tags = {"of": "family"}

    @step
    def pay(self) -> Receipt:
        return self.act("pay")

    @pay.compensation
    def undo_pay(self, receipt: Receipt | None) -> None:
        self.undo("undo_pay", receipt)

    @child(Parcel)
    def ship(self) -> Script:
        self.act("ship")
        return self.input

    @step
    def bill(self) -> Receipt:
        return self.act(f"bill {self.ship.result.key.rpartition(':')[2]}")

    @bill.compensation
    def undo_bill(self, receipt: Receipt | None) -> None:
        self.undo("undo_bill", receipt)


class Letter(Traced):
    """write → post, a child that may not be called back → file."""

    class Meta:
        label = "tests.FamilyLetter"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def write(self) -> Receipt:
        return self.act("write")

    @write.compensation
    def undo_write(self, receipt: Receipt | None) -> None:
        self.undo("undo_write", receipt)

    @child(Sealed)
    def mail(self) -> Script:
        return self.input

    @step
    def file(self) -> Receipt:
        return self.act("file")

    file.no_compensation("harmless")


class Household(Traced):
    """begin → order, whose ship is a saga too → close."""

    class Meta:
        label = "tests.FamilyHousehold"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def begin(self) -> Receipt:
        return self.act("begin")

    @begin.compensation
    def undo_begin(self, receipt: Receipt | None) -> None:
        self.undo("undo_begin", receipt)

    @child(Order)
    def order(self) -> Script:
        return self.input

    @step
    def close(self) -> Receipt:
        return self.act("close")

    close.no_compensation("the last")


class Apart(Traced):
    """tell, a saga for which nobody waits → close."""

    class Meta:
        label = "tests.FamilyApart"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @child(Parcel, wait=False, critical=False)
    def tell(self) -> Script:
        return self.input

    @step
    def close(self) -> Receipt:
        return self.act("close")

    close.no_compensation("the last")


class Late(Traced):
    """ship, a saga that has an hour → bill, the point of no return."""

    class Meta:
        label = "tests.FamilyLate"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @child(Parcel, timeout=600)
    def ship(self) -> Script:
        return self.input

    @step(pivot=True)
    def bill(self) -> Receipt:
        return self.act("bill")

    @child(Sealed)
    def mail(self) -> Script:
        return self.input
