"""The bookings of ``examples/booking``: each step fails before its effect, after it, and in its undoing (R111)."""

from datetime import date
from pathlib import Path

import pytest

from examples.booking import remote_payments, world
from examples.booking.insurance import InsureTrip
from examples.booking.sagas import BookTrip
from examples.booking.trip import Insurance, Line, Trip
from sagas.models import SagaRun
from sagas.states import SagaState
from sagas.testing import assert_every_failure_is_undone, remote_tasks


pytestmark = [pytest.mark.django_db]

PAYMENTS_TEAM = {"booking.charge": remote_payments.charge, "booking.refund": remote_payments.refund}


class Judge:
    """Looks at the world when a run is over, and then begins a new one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends: set[str] = set()

    def __call__(self, run: SagaRun) -> None:
        self.ends.add(run.state)
        if run.is_final:
            assert bool(world.standing()) == (run.state == SagaState.COMPLETED)
            self.path.unlink(missing_ok=True)


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    path = tmp_path / "world.jsonl"
    monkeypatch.setenv("BOOKING_WORLD", str(path))
    return Judge(path)


def test_every_failure_of_a_booking_is_undone(judge: Judge) -> None:
    lines = [Line("flight-1", 500), Line("room-1", 700)]
    trip = Trip("1", date(2027, 6, 1), date(2028, 1, 1), lines, insured=True)
    with remote_tasks(PAYMENTS_TEAM):
        assert_every_failure_is_undone(BookTrip, trip, check=judge)
    assert {SagaState.COMPLETED, SagaState.COMPENSATED} <= judge.ends


def test_every_failure_of_an_insurance_is_undone(judge: Judge) -> None:
    assert_every_failure_is_undone(InsureTrip, Insurance("1", 10), check=judge)
    assert {SagaState.COMPENSATED} <= judge.ends
