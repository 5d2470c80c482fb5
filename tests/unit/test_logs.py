"""An outage is told in few lines, and its end in one."""

import logging

import pytest

from sagas.logs import Outage


LOGGER = logging.getLogger("sagas.tests")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO, logger="sagas.tests")
    return Outage(LOGGER, "sweep", "sweep", clock)


def fail_for(outage: Outage, clock: Clock, seconds: int) -> None:
    """Fail once a second."""
    for _ in range(seconds):
        outage.failed(ConnectionError("refused\n\tIs the server running?"))
        clock.now += 1


class TestOutage:
    def test_is_told_at_first_and_then_every_ten_seconds(
        self, outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        fail_for(outage, clock, 25)
        assert caplog.messages == [
            "sweep failed: ConnectionError: refused Is the server running?",
            "sweep has been failing for 10 s: ConnectionError: refused Is the server running?",
            "sweep has been failing for 20 s: ConnectionError: refused Is the server running?",
        ]
        assert {record.levelname for record in caplog.records} == {"WARNING"}
        assert {vars(record)["action"] for record in caplog.records} == {"sweep_failed"}
        assert not any(record.exc_info for record in caplog.records)

    def test_that_is_over_is_told_once(
        self, outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        outage.over()
        assert caplog.messages == []
        fail_for(outage, clock, 3)
        outage.over()
        outage.over()
        assert caplog.messages[1:] == ["sweep works again after 3 s"]
        assert caplog.records[-1].levelname == "INFO"

    def test_that_comes_next_is_told_at_once(
        self, outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            fail_for(outage, clock, 1)
            outage.over()
        assert len(caplog.messages) == 4

    def test_has_its_tracebacks_at_debug_level(
        self, outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, logger="sagas.tests")
        fail_for(outage, clock, 3)
        assert [bool(record.exc_info) for record in caplog.records] == [False, True, True, True]
