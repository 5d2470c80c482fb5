"""The bookings of ``examples/booking``, on real workers of ours and of the payments team (R10, R11, R85)."""

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef

from benchmarks.plant.worker_process import CHECKOUT
from examples.booking import world
from examples.booking.sagas import BookTrip
from examples.booking.trip import Line, Trip
from sagas import start_saga
from sagas.models import SagaRun
from sagas.operations import approve_step
from sagas.states import SagaState, StepState
from tests.conftest import WORKERS, WorkerFactory
from tests.driving import states, step_of
from tests.other_code_base.process import RemoteWorker, make_site


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.timeout(120)]

ENDS_ON = date(2027, 6, 1)
EXPIRED = date(2027, 5, 1)
EXPENSIVE = 300_000
LINES = ("flight-1", "flight-2", "room-1")


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes that are started from here write into one file."""
    monkeypatch.setenv("BOOKING_WORLD", str(tmp_path / "world.jsonl"))


@pytest.fixture
def payments_team(
    tmp_path: Path, redis_broker: str, request: pytest.FixtureRequest
) -> Iterator[RemoteWorker]:
    """A worker of theirs, which can import neither Django nor the sagas."""
    worker = RemoteWorker(
        app="examples.booking.remote_payments",
        queues=["booking.payments"],
        site=make_site(tmp_path / "site", CHECKOUT / "examples"),
        broker_url=redis_broker,
        environment={"SAGAS_BROKER_URL": redis_broker},
        database_url="",
        folder=tmp_path,
    )
    request.node.stash.setdefault(WORKERS, []).append(worker)
    with worker:
        yield worker


def book(trip_id: str, lines: list[Line], *, valid_until: date = ENDS_ON, **how: Any) -> SagaRun:
    return start_saga(BookTrip, Trip(trip_id, ENDS_ON, valid_until, lines, **how))


def approve_when_asked(run: SagaRun) -> None:
    until = time.monotonic() + 60
    while step_of(run, "approve").state != StepState.WAITING:
        assert time.monotonic() < until
        time.sleep(0.05)
    boss = get_user_model().objects.get_or_create(username="boss", is_superuser=True)[0]
    approve_step(run, "approve", reason="a good customer", actor=boss)


def undone_in_reverse(run: SagaRun) -> list[str]:
    """The names of what is undone, from the steps that ended last."""
    ended = run.steps.forward().filter(name__startswith="book_line").order_by("-ended_at")
    return [step.name.removeprefix("book_line[").removesuffix("]") for step in ended]


@pytest.mark.usefixtures("payments_team")
def test_a_trip_is_booked_and_one_that_fails_at_its_end_leaves_nothing_behind(
    worker_factory: WorkerFactory, redis_broker: str
) -> None:
    """Steps by line, an approval, a child and a remote task: done, or undone in reverse."""
    worker_factory(redis_broker)
    lines = [Line(name, EXPENSIVE) for name in LINES]

    good = book("1", lines, insured=True)
    approve_when_asked(good)
    assert good.wait(60).state == SagaState.COMPLETED
    until = time.monotonic() + 30
    while states(good)["send_itinerary"] != StepState.SUCCEEDED:
        assert time.monotonic() < until
        time.sleep(0.05)
    insured = ["registration of 1", "policy of 1"]
    rest = [*insured, "payment of 1", "tickets of 1", "itinerary of 1"]
    stands = world.standing()
    assert (sorted(stands[:3]), stands[3:]) == (sorted(LINES), rest)
    assert step_of(good, "charge").output == {"reference": "P-1", "cents": 3 * EXPENSIVE}
    assert step_of(good, "issue_tickets").output == [f"T-B-{name}" for name in LINES]
    before = len(world.history())

    bad = book("2", lines, insured=True, valid_until=EXPIRED)
    approve_when_asked(bad)
    ended = bad.wait(60)
    assert (ended.state, ended.error_code) == (SagaState.COMPENSATED, "PASSPORT")
    assert bad.children.get().state == SagaState.COMPENSATED
    assert world.standing() == stands
    happened = world.history()[before:]
    assert sorted(happened[:3]) == sorted(f"did {name}" for name in LINES)
    assert happened[3:6] == ["did registration of 2", "did policy of 2", "did payment of 2"]
    later = ["payment of 2", "policy of 2", "registration of 2", *undone_in_reverse(bad)]
    assert happened[6:] == [f"undid {what}" for what in later]


def test_two_hundred_lines_are_booked_side_by_side_and_all_called_off(
    worker_factory: WorkerFactory, redis_broker: str
) -> None:
    """Each is a row of its own; the tickets wait for all of them. Paid in miles: nothing is charged."""
    worker_factory(redis_broker, concurrency=4, environment={"SAGAS_LOG_LEVEL": "WARNING"})
    lines = [Line(f"seat-{number}", 0) for number in range(200)]
    good, bad = book("1", lines), book("2", lines, valid_until=EXPIRED)
    assert good.wait(60).state == SagaState.COMPLETED
    assert bad.wait(60).state == SagaState.COMPENSATED

    rows = good.steps.forward().filter(name__startswith="book_line")
    begins = OuterRef("started_at")
    assert rows.filter(Exists(rows.filter(started_at__lt=begins, ended_at__gt=begins))).exists()
    tickets = step_of(good, "issue_tickets").output
    assert tickets == [f"T-B-seat-{number}" for number in range(200)]
    seats = sorted(line.id for line in lines)
    stands = [what for what in world.standing() if what.startswith("seat")]
    assert sorted(stands) == seats
    undone = [word.removeprefix("undid ") for word in world.history() if word.startswith("undid")]
    assert undone == undone_in_reverse(bad)
    assert sorted(undone) == seats
