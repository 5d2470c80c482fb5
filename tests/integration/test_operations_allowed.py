"""What each state of a saga allows an operator, and how the rest is refused (R45, R48, R49)."""

from collections.abc import Callable
from functools import partial

import pytest
from django.db import transaction

from sagas import start_saga
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed
from sagas.exceptions import ActionNotAllowed, DeadLetterError
from sagas.models import SagaRun
from sagas.operations import (
    allowed_actions,
    cancel_saga,
    compensate_saga,
    pause_saga,
    resolve_saga,
    resume_saga,
    retry_saga,
    rewind_saga,
)
from tests.driving import claimed, drive, everything, fresh, run_one
from tests.traced import Diamond, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def stuck_on_its_way_back() -> SagaRun:
    faults = {"d": "permanent", "undo_b": "permanent"}
    return drive(start_saga(Five, Script(faults), key="back"))


def stuck_past_the_pivot() -> SagaRun:
    return drive(start_saga(Diamond, Script({"ship": "permanent"}), key="forth"))


def at_the_cap() -> SagaRun:
    run = stuck_past_the_pivot()
    SagaRun.objects.filter(pk=run.pk).update(retry_count=10)
    return fresh(run)


def running(done: int = 1) -> SagaRun:
    run = start_saga(Five, Script(), key="k")
    for _ in range(done):
        run_one(run)
    return fresh(run)


def past_the_pivot() -> SagaRun:
    run = start_saga(Diamond, Script(), key="d")
    for name in ("start", "left", "right", "join", "pivot"):
        run_one(run, name)
    return fresh(run)


def stuck_while_paused() -> SagaRun:
    """A dead letter whose last attempt failed when the saga had been paused."""
    run = past_the_pivot()
    ship = claimed(run, "ship")
    pause_saga(run, reason="x")
    record_outcome(ship, Failed(code="REFUSED", error="refused"))
    return fresh(run)


def warned() -> SagaRun:
    return drive(start_saga(Diamond, Script({"tell": "permanent"}), key="w"))


def waiting(**faults: str) -> SagaRun:
    return drive(start_saga(Five, Script(faults), key="w"))


PLACES: dict[str, Callable[[], SagaRun]] = {
    "running": running,
    "running, nothing done": lambda: running(0),
    "running past the pivot": past_the_pivot,
    "paused": lambda: pause_saga(running(), reason="x"),
    "waiting": lambda: waiting(b="wait"),
    "waiting on its way back": lambda: waiting(c="permanent", undo_b="wait"),
    "rewinding": lambda: rewind_saga(running(), "a", reason="x"),
    "rewound": lambda: drive(rewind_saga(running(), "a", reason="x")),
    "compensating": lambda: compensate_saga(running(), reason="x"),
    "cancelling": lambda: cancel_saga(running(), reason="x"),
    "cancelling, paused": lambda: pause_saga(cancel_saga(running(), reason="x"), reason="x"),
    "completed": lambda: drive(running()),
    "completed past the pivot": lambda: drive(past_the_pivot()),
    "completed with a warning": warned,
    "compensated": lambda: drive(compensate_saga(running(), reason="x")),
    "cancelled": lambda: drive(cancel_saga(running(), reason="x")),
    "dead letter on its way back": stuck_on_its_way_back,
    "dead letter past the pivot": stuck_past_the_pivot,
    "dead letter at the cap": at_the_cap,
    "dead letter, paused": stuck_while_paused,
    "dead letter, paused and retried": lambda: retry_saga(stuck_while_paused(), reason="x"),
    "dead letter, paused and resumed": lambda: resume_saga(stuck_while_paused(), reason="x"),
    "resolved": lambda: resolve_saga(stuck_past_the_pivot(), reason="x"),
    "resolved, paused before": lambda: resolve_saga(stuck_while_paused(), reason="x"),
}
VERBS: dict[str, Callable[..., SagaRun]] = {
    "cancel": cancel_saga,
    "compensate": compensate_saga,
    "revert": partial(compensate_saga, revert_completed=True),
    "retry": retry_saga,
    "resolve": resolve_saga,
    "pause": pause_saga,
    "resume": resume_saga,
}
TURNING = {"cancel", "compensate", "skip_step"}
ANSWERS = {"complete_step", "fail_step"}
STUCK = {"retry", "resolve", "retry_step", "skip_step"}
EXPECTED = {
    "running": {"pause", "rewind", *TURNING},
    "running, nothing done": {"pause", *TURNING},
    "running past the pivot": {"pause", "skip_step"},
    "paused": {"resume", "rewind", *TURNING},
    "waiting": {"pause", "rewind", *TURNING, *ANSWERS},
    "waiting on its way back": {"pause", "skip_step", *ANSWERS},
    "compensating": {"pause", "skip_step"},
    "cancelling": {"pause", "skip_step"},
    "cancelling, paused": {"resume", "skip_step"},
    "completed": {"revert", "rewind"},
    "rewinding": {"pause", *TURNING},
    "rewound": {"revert", "rewind"},
    "completed with a warning": {"retry_step", "skip_step"},
    "dead letter on its way back": STUCK,
    "dead letter past the pivot": STUCK,
    "dead letter at the cap": {"resolve", "skip_step"},
    "dead letter, paused": {"resume", *STUCK},
    "dead letter, paused and retried": {"resume", "skip_step"},
    "dead letter, paused and resumed": STUCK,
}


def state_of(run: SagaRun) -> tuple[object, ...]:
    return (run.state, run.paused_at, run.outcome_when_undone)


def refusal(verb: str, run: SagaRun) -> ActionNotAllowed:
    try:
        VERBS[verb](run, reason="asked for")
    except ActionNotAllowed as error:
        return error
    pytest.fail(f"{verb} is accepted")


class TestAllowedActions:
    @pytest.mark.parametrize("place", PLACES)
    def test_the_actions_of_each_state_are_named(self, place: str) -> None:
        assert allowed_actions(PLACES[place]()) == EXPECTED.get(place, set())

    @pytest.mark.parametrize("place", PLACES)
    def test_what_is_named_is_accepted_and_all_else_refused_without_a_trace(
        self, place: str, messages: list[str]
    ) -> None:
        run = PLACES[place]()
        allowed = allowed_actions(run)
        before = everything()
        messages.clear()
        for verb in VERBS.keys() - allowed:
            error = refusal(verb, run)
            assert (error.state, error.run_id) == (run.state, run.pk), verb
            assert everything() == before, verb
            assert messages == [], verb
        for verb in VERBS.keys() & allowed:
            with transaction.atomic():
                changed = VERBS[verb](run, reason="asked for")
                assert state_of(changed) != state_of(run), verb
                transaction.set_rollback(True)

    def test_a_refusal_names_the_state_and_what_would_be_allowed(self) -> None:
        run = drive(running())
        with pytest.raises(ActionNotAllowed, match="is completed: retry is not possible") as caught:
            retry_saga(run, reason="x")
        assert (caught.value.state, caught.value.allowed) == ("completed", ["revert", "rewind"])
        assert caught.value.action == "retry"
        assert "possible now: revert" in str(caught.value)

    def test_who_comes_too_late_is_told_who_was_there_before(self) -> None:
        run = cancel_saga(running(), reason="changed my mind", actor="ann")
        with pytest.raises(ActionNotAllowed, match=r"is compensating \(Turned back, ann, .* UTC\)"):
            compensate_saga(run, reason="x", actor="bob")

    def test_a_dead_letter_refuses_with_its_stored_error(self) -> None:
        run = stuck_past_the_pivot()
        with pytest.raises(DeadLetterError) as caught:
            cancel_saga(run, reason="x")
        assert caught.value.code == "DEAD_LETTER"
        assert caught.value.stored_error == "ship refused"
