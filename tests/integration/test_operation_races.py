"""Operators against each other and against the engine, at the same instant: exactly one wins (R26, R112)."""

from collections.abc import Callable, Iterator
from functools import partial
from time import sleep
from typing import Any

import pytest

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.transitions import claim
from sagas.models import SagaRun
from sagas.operations import (
    cancel_saga,
    compensate_saga,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    retry_step,
    skip_step,
)
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, fresh, run_one, states, step_of, won
from tests.mild import Mild
from tests.races import Moment, Racers, racers, settled
from tests.traced import CALLS, Receipt, Script


pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("messages"),
]

OPERATOR_EVENTS = (
    EventType.TURNED_BACK,
    EventType.RETRIED,
    EventType.RESOLVED,
    EventType.PAUSED,
    EventType.RESUMED,
    EventType.STEP_RETRIED,
    EventType.STEP_SETTLED,
)

Verb = Callable[..., SagaRun]
revert = partial(compensate_saga, revert_completed=True)


@pytest.fixture
def two(transactional_db: None) -> Iterator[Racers]:
    with racers(2) as runners:
        yield runners


def mild(key: object, done: int = 0, **faults: str) -> SagaRun:
    run = start_saga(Mild, Script(faults), key=str(key))
    for _ in range(done):
        run_one(run)
    return run


def paused(key: object) -> SagaRun:
    return pause_saga(mild(key, 1), reason="x")


def completed(key: object) -> SagaRun:
    return mild(key, 4)


def warned(key: object) -> SagaRun:
    return mild(key, 4, tell="permanent")


def stuck(key: object) -> SagaRun:
    """A dead letter whose second of three compensations failed for good."""
    run = mild(key, 3, undo_note="permanent")
    cancel_saga(run, reason="x")
    return drive(run)


def stuck_at_the_last_retry(key: object) -> SagaRun:
    run = stuck(key)
    SagaRun.objects.filter(pk=run.pk).update(retry_count=9)
    return run


def shifted(number: int, verb: Verb, *args: Any, **options: Any) -> Callable[[], Any]:
    """The verb as one of two that race, a little later each time, so that both get to win."""

    def act() -> Any:
        sleep(number % 8 * 0.0004)
        return verb(*args, reason="asked for", **options)

    return act


def later(number: int, act: Callable[..., Any], *args: Any, **options: Any) -> Callable[[], Any]:
    """What the engine does, later each time than a verb takes at its quickest and at its slowest."""

    def do() -> Any:
        sleep(number % 8 * 0.003)
        return act(*args, **options)

    return do


BETWEEN_OPERATORS: dict[str, tuple[Callable[[object], SagaRun], Verb, Verb]] = {
    "cancel, compensate": (lambda key: mild(key, 2), cancel_saga, compensate_saga),
    "pause, pause": (lambda key: mild(key, 1), pause_saga, pause_saga),
    "resume, resume": (paused, resume_saga, resume_saga),
    "revert, revert": (completed, revert, revert),
    "retry, resolve": (stuck, retry_saga, resolve_saga),
    "retry, retry at the last": (stuck_at_the_last_retry, retry_saga, retry_saga),
    "retry, retry step": (stuck, retry_saga, lambda run, **o: retry_step(run, "note", **o)),
    "resolve, skip step": (stuck, resolve_saga, lambda run, **o: skip_step(run, "note", **o)),
    "retry step, retry step": (
        warned,
        lambda run, **o: retry_step(run, "tell", **o),
        lambda run, **o: retry_step(run, "tell", **o),
    ),
    "skip step with and without a result": (
        lambda key: mild(key, 1),
        lambda run, **o: skip_step(run, "note", **o),
        lambda run, **o: skip_step(run, "note", result=Receipt("by hand"), **o),
    ),
}


class TestTwoOperators:
    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("verbs", BETWEEN_OPERATORS)
    def test_of_two_operators_one_wins_and_the_other_is_told(self, two: Racers, verbs: str) -> None:
        prepare, one, other = BETWEEN_OPERATORS[verbs]
        moment = Moment(prepare("k"))
        run = moment.run
        before = run.events.filter(type__in=OPERATOR_EVENTS).count()
        for number in moment.times():
            answers = two.race(shifted(number, one, run), shifted(7 - number, other, run))
            assert sorted(settled(answer) for answer in answers) == [False, True]
            told = run.events.filter(type__in=OPERATOR_EVENTS)
            # A dead letter goes on because its step was settled: two facts, one act.
            both = told.filter(type=EventType.STEP_SETTLED, from_state="failed").count()
            assert told.count() - before == 1 + both
        assert_ends_well(run)


def assert_ends_well(run: SagaRun) -> None:
    """Whatever won, nothing is left hanging."""
    if fresh(run).paused_at is not None:
        resume_saga(run, reason="go on")
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
    ended = drive(run)
    assert ended.is_final
    undone = [call for call in CALLS if call.startswith("undo")]
    assert len(undone) == len(set(undone)) or "undo_note" in undone


class TestOperatorAndEngine:
    def test_skipping_a_step_and_claiming_it(self, two: Racers) -> None:
        seen: set[bool] = set()
        moment = Moment(mild("k", 1))
        run, row = moment.run, step_of(moment.run, "note")
        for number in moment.times(seen, 2):
            skipped, executed = two.race(
                partial(skip_step, run, "note", reason="x", result=Receipt("by hand")),
                later(number, execute, row.pk, row.fence),
            )
            won = settled(skipped)
            assert won == (executed == "not claimed")
            assert won == ("note" not in CALLS)
            assert step_of(run, "note").output == {"of": "by hand" if won else "note"}
            assert states(run)["b"] == StepState.READY
            seen.add(won)
        assert seen == {True, False}
        assert drive(run).state == SagaState.COMPLETED

    def test_pausing_a_saga_and_claiming_its_step(self, two: Racers) -> None:
        seen: set[bool] = set()
        moment = Moment(mild("k"))
        run, row = moment.run, step_of(moment.run, "a")
        for number in moment.times(seen, 2):
            answer, attempt = two.race(
                partial(pause_saga, run, reason="x"),
                later(number, claim, row.pk, row.fence, task_id="", worker=""),
            )
            assert settled(answer)
            assert states(run)["a"] == ("running" if attempt else "ready")
            # Whatever is claimed was claimed before the pause; afterwards nothing is.
            told = run.events.filter(type__in=(EventType.PAUSED, EventType.STEP_CLAIMED))
            assert list(told.values_list("type", flat=True))[-1] == EventType.PAUSED
            late = step_of(run, "a")
            assert claim(late.pk, late.fence, task_id="", worker="") is None
            if attempt:
                assert record_outcome(attempt, Succeeded(output={"of": "a"}))
            assert fresh(run).paused_at is not None
            seen.add(attempt is None)
        assert seen == {True, False}

    def test_pausing_a_saga_as_a_step_of_it_ends_loses_neither(
        self, two: Racers, messages: list[str]
    ) -> None:
        run = mild("k")
        attempt = claimed(run, "a")
        for number in Moment(run).times():
            answer, recorded = two.race(
                shifted(number, pause_saga, run),
                partial(won, attempt, Succeeded(output={"of": "a"})),
            )
            assert settled(answer)
            assert recorded is True
            row = step_of(run, "note")
            assert row.state == StepState.READY
            assert execute(row.pk, row.fence) == "not claimed"
            messages.clear()
            resume_saga(run, reason="x")
            assert messages == ["sagas.tests.Mild.note"]

    def test_reverting_a_saga_as_a_follow_up_of_it_ends(self, two: Racers) -> None:
        run = followed_up()
        attempt = claimed(run, "tell")
        for number in Moment(run).times():
            answer, recorded = two.race(
                shifted(number, revert, run),
                partial(won, attempt, Succeeded(output={"of": "tell"})),
            )
            assert settled(answer)
            assert recorded is True
            if number % 10 == 0:
                assert drive(run).state == SagaState.COMPENSATED
                assert CALLS == UNDONE
            assert list(states(run, "backward")) == ["tell", "b", "note", "a"]

    def test_reverting_a_saga_as_a_follow_up_of_it_is_claimed(self, two: Racers) -> None:
        moment = Moment(followed_up())
        run, row = moment.run, step_of(moment.run, "tell")
        for number in moment.times():
            answer, executed = two.race(
                shifted(number, revert, run), partial(execute, row.pk, row.fence)
            )
            assert settled(answer)
            ran = executed != "not claimed"
            assert states(run)["tell"] == ("succeeded" if ran else "cancelled")
            assert list(states(run, "backward")) == ["tell", "b", "note", "a"][not ran :]
        assert drive(run).state == SagaState.COMPENSATED


UNDONE = ["undo_tell(tell)", "undo_b(b after note)", "undo_note(note)", "undo_a(a)"]


def followed_up() -> SagaRun:
    """A completed saga whose last step is tried again."""
    run = warned("k")
    SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
    return retry_step(run, "tell", reason="again")
