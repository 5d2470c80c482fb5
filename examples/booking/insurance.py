"""The insurer's saga, which a booking has as one of its steps."""

from examples.booking import world
from examples.booking.trip import Insurance
from sagas import Saga, step


class InsureTrip(Saga[Insurance]):
    """Register the traveller, then write the policy; both can be undone."""

    class Meta:
        label = "booking.InsureTrip"

    @step
    def register_traveller(self) -> None:
        world.do(f"registration of {self.input.trip_id}", key=self.idempotency_key)

    @register_traveller.compensation
    def strike_out(self, _: None) -> None:
        world.undo(f"registration of {self.input.trip_id}", key=self.undoing.idempotency_key)

    @step
    def write_policy(self) -> None:
        world.do(f"policy of {self.input.trip_id}", key=self.idempotency_key)

    @write_policy.compensation
    def void_policy(self, _: None) -> None:
        world.undo(f"policy of {self.input.trip_id}", key=self.undoing.idempotency_key)
