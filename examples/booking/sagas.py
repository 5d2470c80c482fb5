"""The saga that books a trip: as many steps as the trip has lines, a person, another saga, another team."""

from collections.abc import Iterator
from datetime import timedelta

from examples.booking import world
from examples.booking.insurance import InsureTrip
from examples.booking.trip import (
    Booking,
    ChargeRequest,
    Insurance,
    Line,
    Payment,
    RefundRequest,
    Trip,
)
from sagas import Approval, PermanentError, Saga, child, remote, step
from sagas.definitions import PlanItem


APPROVAL_ABOVE_CENTS = 500_000


class BookTrip(Saga[Trip]):
    """Approve, book each line, insure, charge, issue the tickets, send the itinerary."""

    class Meta:
        label = "booking.BookTrip"
        key = "trip-{input.trip_id}"
        # A person may take two days to approve
        long_running = True
        timeout = timedelta(days=3)
        step_defaults = {"max_retries": 3, "retry_backoff": True, "retry_backoff_max": 10}

    @step
    def approve(self) -> None:
        raise Approval(f"a trip of {self.input.cents / 100:.2f}", timeout=timedelta(days=2))

    approve.no_compensation("to approve does nothing else")

    @step
    def book_line(self, line: Line) -> Booking:
        world.do(line.id, key=self.idempotency_key)
        return Booking(f"B-{line.id}")

    @book_line.compensation
    def cancel_line(self, _booking: Booking | None) -> None:
        line: Line = self.undoing.input
        world.undo(line.id, key=self.undoing.idempotency_key)

    # A saga of its own: undone step by step when this one turns back
    @child(InsureTrip)
    def insure(self) -> Insurance:
        return Insurance(self.input.trip_id, self.input.cents)

    # A Celery task of another team: see remote_payments.py
    @remote("booking.charge", queue="booking.payments", result=Payment, time_limit=60)
    def charge(self) -> ChargeRequest:
        return ChargeRequest(self.input.trip_id, self.input.cents, self.idempotency_key)

    @charge.remote_compensation("booking.refund", queue="booking.payments", max_retries=20)
    def refund(self, _payment: Payment | None) -> RefundRequest:
        return RefundRequest(self.input.trip_id, self.undoing.idempotency_key)

    # The point of no return: a ticket that is out cannot be called back
    @step(pivot=True)
    def issue_tickets(self) -> list[str]:
        if self.input.passport_valid_until < self.input.ends_on:
            raise PermanentError("the passport expires during the trip", code="PASSPORT")
        world.do(f"tickets of {self.input.trip_id}", key=self.idempotency_key)
        return [f"T-{booking.locator}" for booking in self.book_line.results]

    @step(critical=False, wait=False)
    def send_itinerary(self) -> None:
        world.do(f"itinerary of {self.input.trip_id}", key=self.idempotency_key)

    @classmethod
    def plan(cls, trip: Trip) -> Iterator[PlanItem]:
        if trip.cents > APPROVAL_ABOVE_CENTS:
            yield cls.approve
        for line in trip.lines:
            yield cls.book_line.bind(line, name=f"book_line[{line.id}]")
        if trip.insured:
            yield cls.insure
        if trip.cents:
            yield cls.charge
        yield cls.issue_tickets
        yield cls.send_itinerary
