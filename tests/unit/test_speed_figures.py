"""The benchmark's arithmetic: ratios within a round, honest gaps, results that can be merged."""

import json
import math
from dataclasses import replace
from pathlib import Path

from benchmarks.speed import report, starting, waiting
from benchmarks.speed.contender import BASELINE, CONTENDERS, IN_PLACE, Parts
from benchmarks.speed.figures import Record, as_object, ratio, write_results
from benchmarks.speed.growth import measure, tables
from benchmarks.speed.measure import Turn
from benchmarks.speed.targets import TARGETS, bounded, verdicts


FIELDS = [
    "contender", "workload", "sagas_per_s", "ratio_to_chain", "latency_p50_ms", "latency_p99_ms",
    "statements_per_saga", "commits_per_saga", "messages_per_saga", "worker_cpu_ms_per_saga",
    "worker_rss_mib",
]  # fmt: skip


def record(name: str, *rates: float | None, workload: str = "5 no-op steps") -> Record:
    turns = [
        None if rate is None else Turn(sagas_per_s=rate, latencies_ms=[rate, 3 * rate])
        for rate in rates
    ]
    return Record(name=name, workload=workload, turns=turns)


class TestRatio:
    def test_a_ratio_is_taken_within_a_round_before_the_median(self) -> None:
        found = ratio(record("ours", 20, 20, 90), record("theirs", 10, 40, 30))
        assert found is not None
        # The ratio of the medians would be 20 / 30.
        assert (found.median, found.least, found.most) == (2.0, 0.5, 3.0)
        assert str(found) == "2.00 [0.50-3.00]"

    def test_a_round_that_one_of_them_missed_does_not_count(self) -> None:
        found = ratio(record("ours", 20, None, 90), record("theirs", None, 40, 30))
        assert found is not None
        assert (found.least, found.most) == (3.0, 3.0)

    def test_without_a_common_round_there_is_no_ratio(self) -> None:
        assert ratio(record("ours", 1, None), record("theirs", None, 1)) is None


class TestResults:
    def test_an_object_has_exactly_the_agreed_fields(self) -> None:
        baseline = record("chain", 10, 20, 30)
        found = as_object(record("ours", 20, 20, 30), baseline)
        assert list(found) == FIELDS
        assert (found["sagas_per_s"], found["ratio_to_chain"]) == (20, 1.0)
        assert (found["latency_p50_ms"], found["latency_p99_ms"]) == (60, 90)

    def test_what_was_not_measured_is_null_and_never_zero(self) -> None:
        found = as_object(record("absent", None, None), record("chain", 1, 1))
        assert set(found.values()) == {"absent", "5 no-op steps", None}

    def test_a_part_of_the_runs_replaces_its_own_results(self, tmp_path: Path) -> None:
        path = tmp_path / "results" / "latest.json"
        write_results(path, [as_object(record(name, 1), None) for name in ("a", "b")])
        write_results(path, [as_object(record("a", 5), None)])
        found = json.loads(path.read_text())
        assert [(one["contender"], one["sagas_per_s"]) for one in found] == [("a", 5), ("b", 1)]


class TestVerdicts:
    def test_a_bound_is_kept_by_the_median(self) -> None:
        found = ratio(record("ours", 8, 16, 17), record("theirs", 10, 10, 10))
        assert bounded("x", found, least=1.6)[1:] == ("≥ 1.6", found, "met")
        assert bounded("x", found, least=1.7)[1:] == ("≥ 1.7", found, "**missed**")
        assert bounded("x", found, most=1.5)[1:] == ("≤ 1.5", found, "**missed**")

    def test_without_a_contender_nothing_is_claimed(self) -> None:
        rows = verdicts([record(BASELINE.name, 10), record(IN_PLACE.name, 20)])
        assert [row[3] for row in rows] == [
            "met", "**missed**", *["not measured"] * (len(TARGETS) - 2)
        ]  # fmt: skip


class TestReport:
    def test_an_absent_contender_is_shown_with_the_reason(self) -> None:
        gone = record("DBOS queue", None)
        gone.absent = "no matching distribution"
        text = report.comparison([record(BASELINE.name, 10), gone])
        assert "| DBOS queue | absent | - |" in text
        assert "DBOS queue: absent (no matching distribution)" in text

    def test_the_time_of_a_step_is_compared_not_that_of_a_saga(self) -> None:
        growth = measure.Growth(
            history=[record("ours", 10, workload="none"), record("ours", 9, workload="many")],
            lengths=[record("ours", 100), record("ours", 10), record("ours", 1)],
            width=[record("ours", 1, workload="500 at once")],
            processes=[record("ours", 1)],
        )
        (_, _, of_a_step, kept), (_, _, beside, _) = tables.verdicts(growth)
        assert isinstance(of_a_step, type(beside))
        assert math.isclose(float(str(of_a_step).split()[0]), 1.0)
        assert kept == "met"
        assert "| 500 at once | 1.00 [1.00-1.00] | 1.99 |" in tables.text(growth)


class TestStarting:
    def records(self) -> list[Record]:
        found = [Record(name=way.name, workload=way.workload) for way in starting.WAYS]
        # By way: how many a second, and the caller's ms, in two rounds.
        measured = [(100, 3.0), (400, 1.0), (200, 1.5), (300, 0.5), (900, 1.0)]
        for record, (per_second, ms) in zip(found, measured, strict=True):
            for slower in (1, 2):
                turn = Turn(sagas_per_s=per_second / slower, caller_cpu_ms=ms * slower)
                record.turns.append(turn)
        return found

    def test_the_loop_is_compared_with_and_without_the_message(self) -> None:
        text = starting.text(self.records())
        assert "| start_sagas() ÷ start_saga() in a loop | ≥ 2 | 4.00 [4.00-4.00] | met |" in text
        assert "| the same, messages not sent | ≥ 2 | 1.50 [1.50-1.50] | **missed** |" in text

    def test_what_a_message_costs_is_shown_beside_a_plain_one(self) -> None:
        text = starting.text(self.records())
        assert "| of start_saga() in a loop | 2.25 |" in text
        assert "| of start_sagas() | 0.75 |" in text
        assert "| a whole apply_async() | 1.50 |" in text

    def test_results_of_starting_have_their_own_places(self) -> None:
        found = [as_object(record, None) for record in self.records()]
        assert all(list(one) == FIELDS for one in found)
        assert len({(one["contender"], one["workload"]) for one in found}) == len(starting.WAYS)


class TestWaiting:
    POOL = waiting.Pool(name="gevent", concurrency=100, connections=16)

    def told(self, rates: tuple[float, float], *, connections: int, errors: int) -> str:
        records = [
            record(one.name, rate, workload=one.workload)
            for one, rate in zip(waiting.pair(self.POOL), rates, strict=True)
        ]
        for one in records:
            one.turns = [replace(turn, cpu_ms_per_saga=1.0, memory_mib=1.0) for turn in one.done()]
        seen = {
            (one.name, one.workload): waiting.Seen(connections=connections, errors=errors)
            for one in records
        }
        return waiting.text([self.POOL], records, seen)

    def test_ours_is_compared_with_the_chain_on_the_same_pool(self) -> None:
        text = self.told((40, 50), connections=16, errors=0)
        assert "| sagas/s on gevent, ours ÷ chain() | ≥ 1 | 1.25 [1.25-1.25] | met |" in text
        assert "| connections on gevent | ≤ 16 | 16 | met |" in text
        assert "**missed**" not in text

    def test_one_connection_too_many_or_an_error_in_the_log_misses_the_target(self) -> None:
        text = self.told((40, 30), connections=17, errors=1)
        assert text.count("**missed**") == 3

    def test_ours_and_the_chain_run_on_the_pool_with_as_many_at_a_time(self) -> None:
        parts = Parts(postgres="postgresql://x/y", redis="redis://x", ledger="redis://z")
        for one in waiting.pair(self.POOL):
            (command,) = one.commands(one.worker, parts)
            assert command[command.index("-P") + 1] == "gevent"
            assert command[command.index("-c") + 1] == "100"
            assert one.variables(parts)["SPEED_PAUSE"] == "0.05"


class TestContenders:
    def test_names_are_unique_for_the_results_are_merged_by_them(self) -> None:
        names = [(one.name, one.workload) for one in CONTENDERS.values()]
        assert len(set(names)) == len(names)

    def test_every_process_is_started_or_forked_once(self) -> None:
        parts = Parts(postgres="postgresql://x/y", redis="redis://x", ledger="redis://z")
        several = CONTENDERS["in-place"].commands(("python", "-n", "{number}"), parts)
        assert [command[2] for command in several] == ["1", "2"]
        (forking,) = CONTENDERS["in-place"].commands(IN_PLACE.worker, parts)
        assert forking[forking.index("-c") + 1] == "2"
