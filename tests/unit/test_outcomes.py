"""What outcomes and verdicts say of themselves, without a database (R41, R70)."""

from typing import Any

import pytest

from sagas.engine.decisions import (
    DidNotHappen,
    Failed,
    Outcome,
    Skipped,
    Succeeded,
    Verdict,
    Waiting,
    from_answer,
)
from sagas.states import EventType, StepState


SUCCEEDED = Succeeded(output={"id": 7})
FAILED = Failed(code="BUSY", error="busy")
DEFINITE = Failed(code="REFUSED", error="refused", definite=True)
IN_DOUBT = Failed(code="TIMEOUT", error="no answer", in_doubt=True)
GIVEN_UP = Failed(code="LOST", error="lost", in_doubt=True, given_up=True)
WAITING = Waiting(note="the bank")


class TestOutcome:
    @pytest.mark.parametrize(
        ("outcome", "state"),
        [
            (SUCCEEDED, StepState.SUCCEEDED),
            (Skipped(), StepState.SKIPPED),
            (DidNotHappen(), StepState.FAILED),
            (DEFINITE, StepState.FAILED),
            (FAILED, None),
            (IN_DOUBT, None),
            (WAITING, None),
        ],
    )
    def test_ends_the_step_only_if_nothing_is_in_doubt(
        self, outcome: Outcome, state: StepState | None
    ) -> None:
        assert outcome.ends_as is state

    @pytest.mark.parametrize(
        ("outcome", "word", "said"),
        [
            (SUCCEEDED, "succeeded", "succeeded"),
            (Skipped(), "skipped", "skipped"),
            (DidNotHappen(), "did not happen", "it did not happen"),
            (FAILED, "BUSY", "BUSY: busy"),
            (WAITING, "waiting", "the bank"),
        ],
    )
    def test_says_what_it_is(self, outcome: Outcome, word: str, said: str) -> None:
        assert (outcome.word, outcome.describe()) == (word, said)

    @pytest.mark.parametrize(
        ("outcome", "columns"),
        [
            (SUCCEEDED, {"output": {"id": 7}, "error_code": "", "error": ""}),
            (Skipped(), {}),
            (DidNotHappen(), {}),
            (FAILED, {"error_code": "BUSY", "error": "busy"}),
            (
                DEFINITE,
                {
                    "error_code": "REFUSED",
                    "error": "refused",
                    "answer": {"code": "REFUSED", "error": "refused"},
                },
            ),
        ],
    )
    def test_says_what_it_leaves_in_the_row(
        self, outcome: Outcome, columns: dict[str, Any]
    ) -> None:
        assert outcome.columns() == columns

    def test_a_wait_that_is_abandoned_leaves_its_code(self) -> None:
        assert WAITING.columns()["error_code"] == "WAIT_GIVEN_UP"

    @pytest.mark.parametrize("outcome", [SUCCEEDED, Skipped(), DEFINITE])
    def test_does_not_yield_to_an_answer_if_it_knows_as_much(self, outcome: Outcome) -> None:
        assert not outcome.yields_to_answer

    @pytest.mark.parametrize("outcome", [FAILED, IN_DOUBT, GIVEN_UP, WAITING, DidNotHappen()])
    def test_yields_to_an_answer_otherwise(self, outcome: Outcome) -> None:
        assert outcome.yields_to_answer

    def test_leaves_doubt_where_the_step_may_have_had_an_effect(self) -> None:
        everything = (SUCCEEDED, Skipped(), DidNotHappen(), FAILED, DEFINITE, IN_DOUBT, WAITING)
        assert [o for o in everything if o.leaves_doubt] == [IN_DOUBT, WAITING]

    def test_leaves_somebody_at_large_who_was_given_up_or_asked(self) -> None:
        everything = (SUCCEEDED, Skipped(), DidNotHappen(), IN_DOUBT, GIVEN_UP, WAITING)
        assert [o for o in everything if o.leaves_at_large] == [GIVEN_UP, WAITING]


class TestAnswer:
    @pytest.mark.parametrize("outcome", [SUCCEEDED, Succeeded(output=None), DEFINITE])
    def test_that_is_kept_is_the_same_outcome_again(self, outcome: Succeeded | Failed) -> None:
        assert from_answer(outcome.as_answer()) == outcome


class TestVerdict:
    @pytest.mark.parametrize(
        ("verdict", "event", "columns"),
        [
            (Verdict(state=StepState.READY), EventType.STEP_RETRYING, {}),
            (
                Verdict(state=StepState.READY, in_doubt=True),
                EventType.STEP_RETRYING,
                {"in_doubt": True},
            ),
            (
                Verdict(state=StepState.READY, in_doubt=True, reconcile_attempts=0),
                EventType.STEP_RECONCILING,
                {"in_doubt": True, "reconcile_attempts": 0},
            ),
            (Verdict(state=StepState.FAILED), EventType.STEP_FAILED, {"in_doubt": False}),
        ],
        ids=["a retry leaves doubt as it is", "in doubt", "reconciling", "an end clears it"],
    )
    def test_says_what_tells_of_it_and_what_it_leaves_in_the_row(
        self, verdict: Verdict, event: EventType, columns: dict[str, Any]
    ) -> None:
        assert (verdict.event, verdict.columns()) == (event, columns)
