"""Outcomes, turns and sweeps that happen at the same instant, in real threads (R13, R26, R112)."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from time import sleep
from typing import Any

import pytest

from sagas import start_saga
from sagas.engine import recover
from sagas.engine.decisions import Failed, Succeeded
from sagas.engine.execute import execute
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import (
    claimed,
    drive,
    expire_lease,
    fresh,
    ready_steps,
    run_one,
    states,
    step_of,
    won,
)
from tests.races import TIMES, Racers, racers
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("messages"),
]


@pytest.fixture
def two(transactional_db: None) -> Iterator[Racers]:
    with racers(2) as runners:
        yield runners


def branches_begun(key: int) -> tuple[SagaRun, StepRun, StepRun]:
    """A run whose two branches are both in flight."""
    run = start_saga(Diamond, Script(), key=str(key))
    run_one(run)
    return run, claimed(run, "left"), claimed(run, "right")


def outcome(name: str) -> Succeeded:
    return Succeeded(output={"of": name})


def refuse_errors(answers: list[Any]) -> None:
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


class TestOneAttempt:
    def test_of_two_outcomes_one_wins_and_the_other_is_told(self, two: Racers) -> None:
        for number in range(TIMES):
            run = start_saga(Five, Script(), key=str(number))
            attempt = claimed(run, "a")
            answers = two.race(
                partial(won, attempt, outcome("one")),
                partial(won, attempt, outcome("other")),
            )
            assert sorted(answers) == [False, True]
            row = step_of(run, "a")
            assert row.state == StepState.SUCCEEDED
            assert row.output == {"of": "one" if answers[0] else "other"}
            told = Counter(run.events.values_list("type", flat=True))
            assert told["step_succeeded"] == told["step_late"] == 1
            assert states(run)["b"] == StepState.READY

    def test_of_a_success_and_a_failure_one_decides_what_becomes_of_the_saga(
        self, two: Racers
    ) -> None:
        for number in range(TIMES):
            run = start_saga(Five, Script(), key=str(number))
            attempt = claimed(run, "a")
            answers = two.race(
                partial(won, attempt, outcome("a")),
                partial(won, attempt, Failed(code="X", error="refused")),
            )
            assert sorted(answers) == [False, True]
            assert run.events.filter(type=EventType.STEP_LATE).count() == 1
            ended = drive(run).state
            assert ended == (SagaState.COMPLETED if answers[0] else SagaState.COMPENSATED)

    def test_of_twenty_messages_one_is_claimed(self) -> None:
        run = start_saga(Five, Script(), key="k")
        row = step_of(run, "a")
        with racers(20) as runners:
            answers = runners.race(*[partial(execute, row.pk, row.fence)] * 20)
        assert Counter(answers) == {"succeeded": 1, "not claimed": 19}
        assert CALLS == ["a"]

    def test_an_outcome_and_the_sweep_that_gives_its_attempt_up_leave_one_winner(
        self, two: Racers
    ) -> None:
        for number in range(TIMES):
            run = start_saga(Five, Script(), key=str(number))
            attempt = claimed(run, "a")
            expire_lease(attempt.pk)
            recorded, report = two.race(partial(won, attempt, outcome("a")), recover.sweep)
            assert report.lost == (0 if recorded else 1)
            # Late, it ends the step that is ready once more.
            assert step_of(run, "a").state == "succeeded"
            assert run.events.filter(type=EventType.STEP_LATE).count() == (0 if recorded else 1)
            SagaRun.objects.all().delete()


class TestJoin:
    def test_branches_that_end_at_once_make_the_join_ready_once(
        self, two: Racers, messages: list[str]
    ) -> None:
        for number in range(TIMES):
            run, left, right = branches_begun(number)
            messages.clear()
            answers = two.race(
                partial(won, left, outcome("left")),
                partial(won, right, outcome("right")),
            )
            assert answers == [True, True]
            join = step_of(run, "join")
            assert (join.state, join.pending_predecessors) == (StepState.READY, 0)
            assert SagaEvent.objects.filter(step=join, type=EventType.STEP_READY).count() == 1
            assert messages == ["sagas.tests.Diamond.join"]


class TestTurningBack:
    def test_branches_that_fail_at_once_make_one_undo_chain(
        self, two: Racers, messages: list[str]
    ) -> None:
        for number in range(TIMES):
            run, left, right = branches_begun(number)
            messages.clear()
            answers = two.race(
                partial(won, left, Failed(code="L", error="left")),
                partial(won, right, Failed(code="R", error="right")),
            )
            assert answers == [True, True]
            assert run.events.filter(type=EventType.TURNED_BACK).count() == 1
            assert states(run, "backward") == {"start": "ready"}
            assert messages == ["sagas.tests.Diamond.start.compensate"]
            assert fresh(run).failed_step in {"left", "right"}

    def test_a_branch_that_fails_as_the_other_succeeds_leaves_nothing_behind(
        self, two: Racers
    ) -> None:
        for number in range(TIMES):
            run, left, right = branches_begun(number)
            answers = two.race(
                partial(won, left, Failed(code="L", error="left")),
                partial(won, right, outcome("right")),
            )
            assert answers == [True, True]
            CALLS.clear()
            assert drive(run).state == SagaState.COMPENSATED
            assert CALLS == ["undo_right(right)", "undo_start(start)"]

    def test_a_step_claimed_as_the_saga_turns_back_is_undone_or_never_starts(
        self, two: Racers
    ) -> None:
        for number in range(TIMES):
            run = start_saga(Diamond, Script(), key=str(number))
            run_one(run)
            right = step_of(run, "right")
            CALLS.clear()
            cancelled, executed = two.race(
                partial(_after, (number % 10) / 2_000, cancel_saga, run, reason="x"),
                partial(execute, right.pk, right.fence),
            )
            refuse_errors([cancelled, executed])
            assert drive(run).state == SagaState.CANCELLED
            began = "right" in CALLS
            assert began == (executed != "not claimed")
            assert began == ("undo_right(right)" in CALLS)
            assert CALLS[-1] == "undo_start(start)"
            assert states(run)["right"] == ("compensated" if began else "cancelled")

    def test_of_two_operators_one_wins(self, two: Racers) -> None:
        for number in range(TIMES):
            run = start_saga(Five, Script(), key=str(number))
            run_one(run)
            answers = two.race(*[partial(cancel_saga, run, reason="x")] * 2)
            assert sum(isinstance(answer, ActionNotAllowed) for answer in answers) == 1
            assert run.events.filter(type=EventType.TURNED_BACK).count() == 1


class TestSweeps:
    def test_two_sweeps_at_once_share_the_work(self, two: Racers, messages: list[str]) -> None:
        runs = [start_saga(Five, Script(), key=str(number)) for number in range(30)]
        for run in runs[:10]:
            expire_lease(claimed(run, "a").pk)
        for run in runs[10:20]:
            run_one(run)
        SagaRun.objects.filter(pk__in=[run.pk for run in runs[10:20]]).update(
            deadline=fresh(runs[0]).created_at
        )
        StepRun.objects.filter(run__in=runs[20:], name="a").update(
            send_at=fresh(runs[0]).created_at, due_at=fresh(runs[0]).created_at
        )
        messages.clear()
        answers = two.race(recover.sweep, recover.sweep)
        refuse_errors(answers)
        assert sum(report.lost for report in answers) == 10
        assert sum(report.expired for report in answers) == 10
        counted = Counter(messages)
        assert counted["sagas.tests.Five.a.compensate"] == 10
        assert counted["sagas.tests.Five.a"] == 20
        assert SagaEvent.objects.filter(type=EventType.TURNED_BACK).count() == 10
        assert SagaEvent.objects.filter(type=EventType.STEP_RETRYING).count() == 10

    def test_two_first_sweeps_at_once_are_both_fine(self, two: Racers) -> None:
        refuse_errors(two.race(recover.sweep, recover.sweep))


class TestManySagas:
    def test_workers_that_take_whatever_is_ready_finish_every_saga_once(self) -> None:
        runs = [start_saga(Diamond, Script(), key=str(number)) for number in range(40)]
        runs += [
            start_saga(Diamond, Script({"join": "permanent"}), key=f"f{number}")
            for number in range(40)
        ]
        with racers(8) as runners:
            refuse_errors(runners.race(*[partial(_work, runs)] * 8))
        ended = [fresh(run).state for run in runs]
        assert ended == ["completed"] * 40 + ["compensated"] * 40
        counted = Counter(CALLS)
        assert counted["start"] == counted["join"] == 80
        assert counted["ship"] == counted["undo_left(left)"] == counted["undo_start(start)"] == 40


def _after(seconds: float, verb: Any, *args: Any, **kwargs: Any) -> Any:
    sleep(seconds)
    return verb(*args, **kwargs)


def _work(runs: list[SagaRun]) -> None:
    """Execute what is ready anywhere until all is done, as the other threads do too."""
    waiting = list(runs)
    while waiting:
        for run in waiting:
            for row in ready_steps(run):
                execute(row.pk, row.fence)
        ids = [run.pk for run in waiting]
        active = set(SagaRun.objects.active().filter(pk__in=ids).values_list("pk", flat=True))
        waiting = [run for run in waiting if run.pk in active]
