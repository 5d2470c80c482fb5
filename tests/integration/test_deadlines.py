"""A deadline passes when every critical step is done: the saga completes without the rest (R57)."""

import pytest
from django.db.models.functions import Now

from sagas import start_saga, step
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Failed, Succeeded, Waiting
from sagas.engine.recover import sweep
from sagas.models import SagaRun
from sagas.operations import (
    allowed_step_actions,
    compensate_saga,
    retry_step,
    skip_step,
)
from sagas.states import EventType, SagaState, StepState
from tests.driving import claimed, drive, expire_lease, fresh, run_one, states, step_of
from tests.traced import CALLS, Diamond, Receipt, Script, Traced
from tests.waits import answer, refused


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

NO = Failed(code="BUSY", error="the mail host is busy", retryable=True)
MAYBE = Failed(code="GONE", error="no answer", retryable=True, in_doubt=True)


class Buy(Traced):
    """pay → {mail → survey, archive}, of which only the payment matters."""

    class Meta:
        label = "tests.Buy"
        step_defaults = {"max_retries": 5, "retry_jitter": False}

    @step
    def pay(self) -> Receipt:
        return self.act("pay")

    @pay.compensation
    def refund(self, receipt: Receipt | None) -> None:
        self.undo("refund", receipt)

    @step(critical=False)
    def mail(self) -> Receipt:
        return self.act("mail")

    @mail.compensation
    def apologise(self, receipt: Receipt | None) -> None:
        self.undo("apologise", receipt)

    @step(after=[mail], critical=False)
    def survey(self) -> Receipt:
        return self.act("survey")

    survey.no_compensation("harmless")

    @step(after=[pay], critical=False)
    def archive(self) -> Receipt:
        return self.act("archive")

    archive.no_compensation("harmless")


class MailFirst(Traced):
    """A best-effort step, and then a critical one."""

    class Meta:
        label = "tests.MailFirst"

    @step(critical=False)
    def mail(self) -> Receipt:
        return self.act("mail")

    @mail.compensation
    def apologise(self, receipt: Receipt | None) -> None:
        self.undo("apologise", receipt)

    @step
    def pay(self) -> Receipt:
        return self.act("pay")

    pay.no_compensation("the last")


def paid(**faults: str) -> SagaRun:
    """A saga whose payment is done, and nothing else."""
    run = start_saga(Buy, Script(faults), key="k")
    run_one(run, "pay")
    return run


def deadline_passes(run: SagaRun) -> SagaRun:
    SagaRun.objects.filter(pk=run.pk).update(deadline=Now())
    assert sweep().expired == 1
    return fresh(run)


class TestASagaOfWhichBestEffortStepsAreLeft:
    def test_completes_at_its_deadline_with_a_warning_and_nothing_is_undone(
        self, messages: list[str]
    ) -> None:
        run = drive(paid(mail="wait"))
        messages.clear()
        ended = deadline_passes(run)
        assert (ended.state, ended.has_warnings, ended.remaining) == (SagaState.COMPLETED, True, 0)
        assert states(run) == {
            "pay": "succeeded",
            "mail": "unknown",
            "survey": "cancelled",
            "archive": "succeeded",
        }
        assert drive(run).state == SagaState.COMPLETED
        assert (messages, CALLS) == ([], ["pay", "mail", "archive"])
        assert "needs follow-up" in ended.explain()

    def test_tells_in_its_history_why_it_completed(self) -> None:
        run = deadline_passes(drive(paid(mail="wait")))
        completed = run.events.get(type=EventType.COMPLETED)
        assert "without mail, survey, because the saga ran past its deadline" in completed.note
        cancelled = run.events.get(type=EventType.STEP_CANCELLED)
        assert "ran past its deadline" in cancelled.note

    def test_is_no_dead_letter_past_the_point_of_no_return_either(self) -> None:
        run = drive(start_saga(Diamond, Script({"tell": "wait"}), key="k"))
        ended = deadline_passes(run)
        assert (ended.state, ended.has_warnings) == (SagaState.COMPLETED, True)

    def test_turns_back_when_a_critical_step_comes_after_them(self) -> None:
        run = drive(start_saga(MailFirst, Script({"mail": "wait"}), key="k"))
        assert deadline_passes(run).state == SagaState.COMPENSATING
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["mail", "apologise(None)"]

    def test_turns_back_while_a_critical_step_runs(self) -> None:
        run = start_saga(Buy, Script(), key="k")
        attempt = claimed(run, "pay")
        assert deadline_passes(run).state == SagaState.COMPENSATING
        record_outcome(attempt, Succeeded(output={"of": "pay"}))
        assert drive(run).state == SagaState.COMPENSATED

    def test_has_what_may_have_happened_undone_when_it_is_reverted(self) -> None:
        run = deadline_passes(drive(paid(mail="wait")))
        compensate_saga(run, reason="returned", revert_completed=True)
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS[-2:] == ["apologise(None)", "refund(pay)"]


class TestABestEffortStepAtTheDeadline:
    @pytest.mark.parametrize(("outcome", "ends"), [(NO, "failed"), (MAYBE, "unknown")])
    def test_is_not_tried_again_when_it_is_between_attempts(
        self, outcome: Failed, ends: str
    ) -> None:
        run = paid()
        record_outcome(claimed(run, "mail"), outcome)
        assert states(run)["mail"] == StepState.READY
        deadline_passes(run)
        row = step_of(run, "mail")
        assert (row.state, row.error_code) == (ends, outcome.code)
        assert states(run)["archive"] == StepState.CANCELLED
        assert drive(run).state == SagaState.COMPLETED
        assert CALLS == ["pay"]

    def test_that_runs_ends_by_itself_and_takes_the_warning_back(self) -> None:
        run = paid()
        run_one(run, "archive")
        mail = claimed(run, "mail")
        deadline_passes(run)
        skip_step(run, "survey", reason="nobody reads it")
        assert fresh(run).has_warnings
        assert record_outcome(mail, Succeeded(output={"of": "mail"}))
        assert (states(run)["mail"], fresh(run).has_warnings) == (StepState.SUCCEEDED, False)
        assert fresh(run).state == SagaState.COMPLETED

    @pytest.mark.parametrize(
        ("outcome", "ends"), [(NO, "failed"), (MAYBE, "unknown"), (Waiting(), "unknown")]
    )
    def test_that_runs_and_fails_is_not_tried_again(
        self, outcome: Failed | Waiting, ends: str, messages: list[str]
    ) -> None:
        run = paid()
        mail = claimed(run, "mail")
        deadline_passes(run)
        messages.clear()
        assert record_outcome(mail, outcome)
        assert (states(run)["mail"], fresh(run).has_warnings) == (ends, True)
        assert (fresh(run).state, messages) == (SagaState.COMPLETED, [])

    def test_that_runs_and_loses_its_worker_is_not_tried_again(self) -> None:
        run = paid()
        mail = claimed(run, "mail")
        deadline_passes(run)
        expire_lease(mail.pk)
        assert sweep().lost == 1
        assert states(run)["mail"] == StepState.UNKNOWN

    def test_that_succeeds_late_is_recorded_and_takes_its_warning_back(self) -> None:
        run = drive(paid(mail="wait"))
        deadline_passes(run)
        answer(run, "mail")
        assert states(run)["mail"] == StepState.SUCCEEDED
        assert fresh(run).has_warnings
        skip_step(run, "survey", reason="nobody reads it")
        assert not fresh(run).has_warnings
        assert drive(run).state == SagaState.COMPLETED

    def test_can_be_tried_by_hand(self) -> None:
        run = deadline_passes(drive(paid(mail="wait")))
        allowed = allowed_step_actions(run, list(run.steps.all()))
        assert allowed == {
            "pay": {"rewind"},
            "mail": {"retry_step", "skip_step", "rewind"},
            "survey": {"retry_step", "skip_step"},
            "archive": {"rewind"},
        }
        SagaRun.objects.filter(pk=run.pk).update(input={"faults": {}})
        for name in ("mail", "survey"):
            retry_step(run, name, reason="after all")
            assert fresh(run).has_warnings
            drive(run)
        assert not fresh(run).has_warnings
        assert CALLS == ["pay", "mail", "archive", "mail", "survey"]

    def test_has_its_attempts_anew_when_it_is_tried_by_hand(self) -> None:
        run = deadline_passes(drive(paid(mail="wait", survey="once-network")))
        retry_step(run, "survey", reason="after all")
        drive(run)
        assert (states(run)["survey"], CALLS[-2:]) == (StepState.SUCCEEDED, ["survey", "survey"])

    def test_that_is_tried_by_hand_already_goes_on(self) -> None:
        run = drive(paid(mail="wait", archive="permanent"))
        retry_step(run, "archive", reason="it is back")
        deadline_passes(run)
        assert states(run)["archive"] == StepState.READY
        refused(lambda: retry_step(run, "archive", reason="x"), "neither failed nor unknown")


class TestWarnings:
    def test_the_success_of_one_step_does_not_hide_another_that_is_still_tried_again(self) -> None:
        run = drive(paid(mail="permanent", archive="permanent"))
        assert (run.state, run.has_warnings) == (SagaState.COMPLETED, True)
        retry_step(run, "mail", reason="again")
        retry_step(run, "archive", reason="again")
        mail, archive = claimed(run, "mail"), claimed(run, "archive")
        record_outcome(mail, Succeeded(output={"of": "mail"}))
        assert fresh(run).has_warnings
        record_outcome(archive, Failed(code="FULL", error="no room"))
        assert fresh(run).has_warnings
