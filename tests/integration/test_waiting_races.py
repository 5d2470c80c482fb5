"""An outside party that answers while the engine or an operator decides: exactly one wins (R53, R112)."""

from collections.abc import Callable, Iterator
from functools import partial
from time import sleep
from typing import Any

import pytest
from django.test import Client

from sagas import start_saga
from sagas.definitions.tokens import Request, answer_token, answer_url
from sagas.engine.advance import end_lost_attempt
from sagas.engine.decisions import Waiting
from sagas.engine.transitions import claim
from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun
from sagas.operations import cancel_saga, complete_step, fail_step, skip_step
from sagas.states import SagaState, StepState
from tests.driving import drive, expire_lease, fresh, run_one, states, step_of, won
from tests.races import Moment, Racers, racers, settled
from tests.traced import CALLS, Five, Receipt, Script


pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("messages"),
]

Act = Callable[[], Any]


@pytest.fixture
def two(transactional_db: None) -> Iterator[Racers]:
    with racers(2) as runners:
        yield runners


def waiting() -> SagaRun:
    return drive(start_saga(Five, Script({"b": "wait"}), key="k"))


def completing(run: SagaRun) -> Act:
    return partial(complete_step, run, "b", result=Receipt("outside"), reason="x", actor="webhook")


def both(two: Racers, number: int, one: Act, other: Act) -> list[Any]:
    """Do both at once, each a little later or sooner each time.

    The first time one after the other, and the second time the other way round: whatever the
    machine's load, each wins at least once.
    """
    if number == 0:
        return [*two.race(one), *two.race(other)]
    if number == 1:
        return [*two.race(other), *two.race(one)][::-1]
    return two.race(_later(number % 8, one), _later(7 - number % 8, other))


def _later(much: int, act: Act) -> Act:
    def do() -> Any:
        sleep(much * 0.0004)
        return act()

    return do


def assert_undone(run: SagaRun, ended: SagaState) -> None:
    """What the outside party did is undone, with its result, whoever was first."""
    assert drive(run).state == ended
    assert "undo_b(outside)" in CALLS
    assert states(run)["b"] == StepState.COMPENSATED


class TestRacesOfAnswers:
    def test_of_two_answers_one_wins(self, two: Racers) -> None:
        moment, seen = Moment(waiting()), set()
        run = moment.run
        failing = partial(fail_step, run, "b", error="no stock", reason="x")
        for number in moment.times():
            done, refused = both(two, number, completing(run), failing)
            assert sorted((settled(done), settled(refused))) == [False, True]
            won = settled(done)
            assert states(run)["b"] == ("succeeded" if won else "failed")
            assert fresh(run).state == ("running" if won else "compensating")
            seen.add(won)
        assert seen == {True, False}

    def test_of_an_answer_and_its_double_one_wins(self, two: Racers) -> None:
        moment = Moment(waiting())
        run = moment.run
        for _ in moment.times():
            answers = two.race(completing(run), completing(run))
            assert sorted(map(settled, answers)) == [False, True]
            (loser,) = (a for a in answers if isinstance(a, ActionNotAllowed))
            assert "webhook" in str(loser)
            assert "b is succeeded since" in str(loser)
            assert run.steps.filter(state=StepState.READY).count() == 1

    def test_an_answer_as_the_wait_ends_counts_and_one_decides_what_follows(
        self, two: Racers
    ) -> None:
        run = waiting()
        expire_lease(step_of(run, "b").pk)
        moment, row, seen = Moment(run), step_of(run, "b"), set()
        for number in moment.times():
            answer, ended = both(two, number, completing(run), partial(end_lost_attempt, row))
            assert settled(answer)
            assert fresh(run).state == ("compensating" if ended else "running")
            assert step_of(run, "b").output == {"of": "outside"}
            assert states(run)["c"] == ("cancelled" if ended else "ready")
            if ended and number % 10 == 0:
                assert_undone(run, SagaState.COMPENSATED)
            seen.add(ended)
        assert seen == {True, False}

    def test_an_answer_as_the_saga_is_cancelled_counts_and_is_undone(self, two: Racers) -> None:
        moment, seen = Moment(waiting()), set()
        run = moment.run
        cancelling = partial(cancel_saga, run, reason="x")
        for number in moment.times():
            answers = both(two, number, completing(run), cancelling)
            assert all(map(settled, answers))
            assert fresh(run).state == SagaState.COMPENSATING
            assert step_of(run, "b").output == {"of": "outside"}
            # The answer was first: then its successor had become ready, and was cancelled.
            seen.add(run.events.filter(step__name="c", type="step_ready").exists())
            assert states(run)["c"] == StepState.CANCELLED
            if number % 20 == 0:
                assert_undone(run, SagaState.CANCELLED)
        assert seen == {True, False}

    def test_an_answer_as_the_step_is_skipped_counts(self, two: Racers) -> None:
        moment, seen = Moment(waiting()), set()
        run = moment.run
        skipping = partial(skip_step, run, "b", reason="x")
        for number in moment.times():
            done, skipped = both(two, number, completing(run), skipping)
            # An answer after the skip is a late success, and counts; a skip after the answer does not.
            assert settled(done)
            assert states(run)["b"] == "succeeded"
            seen.add(settled(skipped))
        assert seen == {True, False}


class TestNoAnswerIsLost:
    def test_an_answer_that_comes_as_the_step_begins_to_wait_is_kept(self, two: Racers) -> None:
        run = start_saga(Five, Script(), key="k")
        run_one(run)
        row = step_of(run, "b")
        attempt = claim(row.pk, row.fence, task_id="", worker="")
        assert attempt is not None
        seen = set()
        for number in Moment(run).times():
            answer, recorded = both(two, number, completing(run), partial(won, attempt, Waiting()))
            assert settled(answer)
            assert recorded is True
            assert step_of(run, "b").output == {"of": "outside"}
            assert states(run)["c"] == StepState.READY
            seen.add(run.events.filter(type="step_answered").exists())
        assert seen == {True, False}


class TestAnAnswerThatIsDeliveredAtOnce:
    """By a party that sends everything several times, without waiting for what comes of it."""

    @pytest.mark.parametrize("number", range(4))
    def test_is_taken_once_and_no_delivery_is_told_otherwise(
        self, two: Racers, number: int
    ) -> None:
        run = waiting()
        row = step_of(run, "b")
        url = answer_url(answer_token(Request(row.pk, row.fence)))
        body = {"status": "succeeded", "result": {"of": "outside"}}
        if number % 2:
            body = {"status": "failed", "error": "no stock"}

        def deliver() -> int:
            return int(Client().post(url, body, content_type="application/json").status_code)

        assert both(two, number, deliver, deliver) == [200, 200]
        ended = run.events.filter(step=row, from_state="waiting")
        assert [event.actor for event in ended] == ["webhook 127.0.0.1"]
