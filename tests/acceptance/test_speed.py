"""The benchmark runs real systems, and says which of them it could not have. Nothing is timed here."""

import sys
from dataclasses import replace

import pytest

from benchmarks.speed.contender import DBOS, IN_PLACE
from benchmarks.speed.measure import Lengths
from benchmarks.speed.rounds import Plan, take_rounds


pytestmark = [pytest.mark.acceptance, pytest.mark.redis, pytest.mark.postgres]

SHORT = Lengths(drain_seconds=0.1, latencies=2, latency_seconds=60)


@pytest.mark.timeout(400)
def test_a_round_of_ours_measures_everything() -> None:
    (record,) = take_rounds(Plan(contenders=[IN_PLACE], rounds=1, lengths=SHORT))
    assert record.absent == ""
    (turn,) = record.done()
    assert len(turn.latencies_ms) == 2
    assert turn.sagas >= 20
    for figure in (turn.sagas_per_s, turn.memory_mib, turn.statements_per_saga):
        assert figure is not None
        assert figure > 0
    assert turn.commits_per_saga is not None
    assert turn.messages_per_saga is not None
    assert turn.commits_per_saga > 2
    assert turn.messages_per_saga >= 1


def test_a_contender_that_cannot_be_installed_is_absent_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    gone = replace(DBOS, package="no-such-distribution-anywhere")
    (record,) = take_rounds(Plan(contenders=[gone], rounds=2, lengths=SHORT))
    assert record.turns == [None, None]
    assert "/bin/false" in record.absent
    assert "out of the run: DBOS queue" in capsys.readouterr().out
