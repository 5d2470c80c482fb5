"""What happens next, decided without a database (R49, R50, R68, R70, R71)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.definitions import StepOptions
from sagas.engine.decisions import (
    DidNotHappen,
    Failed,
    Next,
    Outcome,
    Reconciliation,
    Skipped,
    Succeeded,
    Verdict,
    Waiting,
    after_step,
    fingerprint,
    judge,
    retry_delay,
    with_attempt_count,
)
from sagas.states import Direction, SagaState, StepState


PLAIN = StepOptions(retry_jitter=False)
DEFINITE = Failed(code="X", error="x")
NETWORK = Failed(code="X", error="x", retryable=True, in_doubt=True)
UNCERTAIN = Failed(code="X", error="x", in_doubt=True)
LOST = Failed(code="X", error="x", retryable=True, in_doubt=True, skip_backoff=True)


class TestRetryDelay:
    def test_backoff_doubles_from_one_second(self) -> None:
        assert [retry_delay(PLAIN, attempt) for attempt in range(1, 5)] == [1, 2, 4, 8]

    def test_a_number_is_the_first_delay(self) -> None:
        options = StepOptions(retry_backoff=3, retry_jitter=False)
        assert [retry_delay(options, attempt) for attempt in range(1, 4)] == [3, 6, 12]

    def test_the_delay_is_capped(self) -> None:
        options = StepOptions(retry_backoff_max=100, retry_jitter=False)
        assert retry_delay(options, 8) == 100
        assert retry_delay(options, 1_000) == 100

    def test_without_backoff_every_delay_is_the_same(self) -> None:
        options = StepOptions(retry_backoff=False, default_retry_delay=2.5)
        assert [retry_delay(options, attempt) for attempt in (1, 2, 9)] == [2.5] * 3

    @given(attempt=st.integers(1, 40))
    def test_jitter_stays_between_nothing_and_the_full_delay(self, attempt: int) -> None:
        assert 0 <= retry_delay(StepOptions(), attempt) <= retry_delay(PLAIN, attempt)


def judged(
    outcome: Outcome,
    *,
    attempt: int = 1,
    options: StepOptions = PLAIN,
    in_doubt: bool = False,
    goes_on: bool = True,
) -> Verdict:
    return judge(outcome, attempt=attempt, options=options, in_doubt=in_doubt, goes_on=goes_on)


class TestJudge:
    def test_success_is_success_whatever_came_before(self) -> None:
        verdict = judged(Succeeded(output=1), in_doubt=True, goes_on=False)
        assert verdict == Verdict(state=StepState.SUCCEEDED)

    def test_a_skip_is_a_skip(self) -> None:
        assert judged(Skipped()).state == StepState.SKIPPED

    def test_a_definite_failure_is_not_tried_again(self) -> None:
        assert judged(DEFINITE) == Verdict(state=StepState.FAILED)

    def test_an_uncertain_outcome_is_unknown_at_once(self) -> None:
        assert judged(UNCERTAIN) == Verdict(state=StepState.UNKNOWN, in_doubt=True)

    def test_a_failure_that_may_pass_is_tried_again_until_the_retries_are_spent(self) -> None:
        options = StepOptions(max_retries=3, retry_jitter=False)
        verdicts = [judged(NETWORK, attempt=n, options=options) for n in range(1, 5)]
        assert [v.state for v in verdicts] == ["ready"] * 3 + ["unknown"]
        assert [v.delay for v in verdicts] == [1, 2, 4, 0]
        assert all(v.in_doubt for v in verdicts)

    def test_a_lost_attempt_is_tried_again_without_delay(self) -> None:
        assert judged(LOST) == Verdict(state=StepState.READY, in_doubt=True, delay=0)

    def test_no_retries_means_one_attempt(self) -> None:
        assert judged(NETWORK, options=StepOptions(max_retries=0)).state == StepState.UNKNOWN

    def test_nothing_is_tried_again_when_the_run_goes_elsewhere(self) -> None:
        assert judged(NETWORK, goes_on=False).state == StepState.UNKNOWN

    def test_doubt_outlives_a_later_definite_failure(self) -> None:
        verdict = judged(DEFINITE, attempt=2, in_doubt=True)
        assert verdict == Verdict(state=StepState.UNKNOWN, in_doubt=True)

    def test_a_retry_without_doubt_may_end_as_a_definite_failure(self) -> None:
        retryable = Failed(code="X", error="x", retryable=True)
        assert judged(retryable, attempt=9).state == StepState.FAILED


def following(
    state: StepState,
    run_state: SagaState = SagaState.RUNNING,
    *,
    backward: bool = False,
    critical: bool = True,
    is_irreversible: bool = False,
    pivot_passed: bool = False,
    continue_undoing: bool = False,
) -> Next:
    return after_step(
        state,
        direction=Direction.BACKWARD if backward else Direction.FORWARD,
        critical=critical,
        is_irreversible=is_irreversible,
        run_state=run_state,
        pivot_passed=pivot_passed,
        continue_undoing=continue_undoing,
    )


FAILURES = [StepState.FAILED, StepState.UNKNOWN]
SUCCESSES = [StepState.SUCCEEDED, StepState.SKIPPED]


class TestAfterStep:
    @pytest.mark.parametrize("state", SUCCESSES)
    def test_success_goes_on(self, state: StepState) -> None:
        assert following(state) is Next.GO_ON
        assert following(state, is_irreversible=True) is Next.GO_ON

    @pytest.mark.parametrize("state", FAILURES)
    def test_a_critical_failure_turns_back(self, state: StepState) -> None:
        assert following(state) is Next.TURN_BACK

    @pytest.mark.parametrize("state", FAILURES)
    def test_a_best_effort_failure_goes_on(self, state: StepState) -> None:
        assert following(state, critical=False) is Next.GO_ON
        assert following(state, critical=False, pivot_passed=True) is Next.GO_ON

    @pytest.mark.parametrize("state", FAILURES)
    def test_past_the_pivot_a_critical_failure_waits_for_a_human(self, state: StepState) -> None:
        assert following(state, pivot_passed=True) is Next.DEAD_LETTER

    def test_the_pivot_itself_rolls_back_only_when_it_definitely_failed(self) -> None:
        assert following(StepState.FAILED, is_irreversible=True) is Next.TURN_BACK
        assert following(StepState.UNKNOWN, is_irreversible=True) is Next.DEAD_LETTER

    @pytest.mark.parametrize("state", SUCCESSES + FAILURES)
    def test_a_forward_step_that_ends_while_the_saga_turns_back_settles_it(
        self, state: StepState
    ) -> None:
        assert following(state, SagaState.COMPENSATING) is Next.BEGIN_UNDO_WHEN_IDLE

    @pytest.mark.parametrize("state", SUCCESSES + FAILURES)
    @pytest.mark.parametrize("critical", [True, False])
    def test_what_ends_while_the_saga_stands_still_moves_nothing(
        self, state: StepState, *, critical: bool
    ) -> None:
        assert following(state, SagaState.DEAD_LETTER, critical=critical) is Next.NOTHING

    def test_a_compensation_that_succeeds_goes_on(self) -> None:
        assert following(StepState.SUCCEEDED, SagaState.COMPENSATING, backward=True) is Next.GO_ON

    @pytest.mark.parametrize("state", FAILURES)
    def test_a_compensation_that_fails_is_a_dead_letter_unless_undoing_continues(
        self, state: StepState
    ) -> None:
        at = SagaState.COMPENSATING
        assert following(state, at, backward=True) is Next.DEAD_LETTER
        assert following(state, at, backward=True, continue_undoing=True) is Next.GO_ON

    def test_a_compensation_that_ends_late_moves_nothing(self) -> None:
        late = following(StepState.SUCCEEDED, SagaState.DEAD_LETTER, backward=True)
        assert late is Next.NOTHING


class TestInTheEnd:
    def test_an_outcome_that_was_tried_again_says_so(self) -> None:
        failure = Failed(code="X", error="no answer", retryable=True)
        assert with_attempt_count(failure, 3).error == "failed after 3 attempts: no answer"
        assert with_attempt_count(failure, 3).code == "X"

    @pytest.mark.parametrize(("retryable", "attempts"), [(True, 1), (False, 3)])
    def test_an_outcome_of_one_attempt_tells_its_cause_alone(
        self, *, retryable: bool, attempts: int
    ) -> None:
        failure = Failed(code="X", error="refused", retryable=retryable)
        assert with_attempt_count(failure, attempts) == failure


class TestFingerprint:
    @pytest.mark.parametrize("where", ["", "A compensation failed for good. undo_b: "])
    def test_the_number_of_attempts_does_not_tell_causes_apart(self, where: str) -> None:
        texts = ("", "failed after 2 attempts: ", "failed after 11 attempts: ")
        found = {fingerprint("s", "b", "X", f"{where}{text}no answer") for text in texts}
        assert len(found) == 1

    def test_the_cause_tells_fingerprints_apart(self) -> None:
        assert fingerprint("s", "b", "X", "no answer") != fingerprint("s", "b", "X", "refused")


class TestWaiting:
    def test_a_step_waits_while_its_saga_goes_on(self) -> None:
        assert judged(Waiting()) == Verdict(state=StepState.WAITING, in_doubt=True)

    def test_a_step_that_wants_to_wait_after_the_turn_is_unknown_or_asked_about(self) -> None:
        assert judged(Waiting(), goes_on=False) == Verdict(state=StepState.UNKNOWN, in_doubt=True)
        verdict = judge(
            Waiting(),
            attempt=1,
            options=PLAIN,
            in_doubt=False,
            goes_on=False,
            reconciliation=Reconciliation(possible=True),
        )
        assert verdict == Verdict(state=StepState.READY, in_doubt=True, reconcile_attempts=0)

    def test_a_reconcile_cannot_wait_and_is_called_again(self) -> None:
        verdict = judge(
            Waiting(),
            attempt=1,
            options=PLAIN,
            in_doubt=True,
            goes_on=True,
            reconciliation=Reconciliation(possible=True, attempts=0),
        )
        assert (verdict.state, verdict.reconcile_attempts) == (StepState.READY, 1)

    @pytest.mark.parametrize(
        "outcome", [Failed(code="X", error="x", definite=True), DidNotHappen()]
    )
    def test_who_knows_that_it_did_not_happen_ends_all_doubt(self, outcome: Outcome) -> None:
        options = StepOptions(max_retries=9)
        assert judged(outcome, in_doubt=True, options=options) == Verdict(state=StepState.FAILED)
